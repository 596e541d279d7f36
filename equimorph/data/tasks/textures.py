"""Made images whose label has a symmetry that is known: invariant under H, and under nothing else in G."""

from __future__ import annotations

import torch
from torch import Tensor

from equimorph.data._base import ImageData, Split
from equimorph.errors import ConfigurationError, GroupError
from equimorph.groups import Subgroup, group
from equimorph.layers.features import transform

_SIDE = 5  # of a motif; odd, so that its centre is a pixel
_MOTIF_SEEDS = (15, 53)  # of the first 60 the pair whose 16 patches differ most: in at least 10 of 25 pixels
_FEWEST_COPIES, _MOST_COPIES = 3, 5
_GREY, _CONTRAST, _NOISE = 128, 60, 12  # background, motif against background, standard deviation, of 0 to 255
_ABSENT = -1


def make_textures(
    subgroup: str,
    *,
    num_train: int = 1000,
    num_validation: int = 500,
    num_test: int = 1000,
    image_size: int = 16,
    seed: int = 0,
    ambient: str = "D4",
) -> ImageData:
    """Images strewn with copies of one motif, in two classes told apart by how the copies are turned.

        class 0: every copy is g motif, g uniform in H          class 1: every copy is g motif, g uniform in G minus H
        H = G:   g uniform in G in both, and class 1 has a second motif, of the same pixels in another arrangement

    Each image has three to five copies, later ones over earlier ones, at places uniform on the torus (what leaves on
    one side comes in on the other, so places tell nothing), and weak Gaussian noise. Grey, uint8; classes alternate.

    Why the label has the symmetry H. An element k of G takes the copy g motif at c to (k g) motif at k c. For k in H,
    k H = H and k (G minus H) = G minus H, so both classes are kept (even their distributions: a uniform draw stays
    uniform). For k not in H, the coset k H has no element of H, so every image of class 0 becomes one of class 1: the
    label is invariant under k only if k H = H, that is only if k is in H, and thus under no larger subgroup of G. (Of
    class 1, k takes some images to class 0, some to mixtures that are never drawn.) That no two elements of G give the
    same copy is due to the motif, which no element of D4 but the identity keeps. For H = G nothing larger is left.

    Args:
        subgroup: H, by the name of a subgroup of D4.
        num_train, num_validation, num_test: Images in each split, at least 2. A split depends on its own number alone.
        image_size: Side of an image in pixels, at least 5, the side of the motif.
        seed: Of the draw, not negative. The motifs are always the same.
        ambient: G, by the name of a subgroup of D4 that contains H.
    Raises:
        GroupError: D4 has no such subgroup, or G does not contain H.
        ConfigurationError: A number of images, the size or the seed is too small.
    Example:
        >>> data = make_textures("C4", num_train=100)
        >>> data.name, tuple(data.train.x.shape), data.train.y.bincount().tolist()
        ('textures:C4', (100, 1, 16, 16), [50, 50])
    """
    parent, inner = group("D4").subgroup(ambient), group("D4").subgroup(subgroup)
    if not inner <= parent:
        raise GroupError(
            f"make_textures: {parent.name} does not contain {inner.name}; take an ambient group that does."
        )
    lower_bounds = {"image_size": (image_size, _SIDE), "seed": (seed, 0)}
    lower_bounds |= {"num_train": (num_train, 2), "num_validation": (num_validation, 2), "num_test": (num_test, 2)}
    for option, (value, least) in lower_bounds.items():
        if value < least:
            raise ConfigurationError(f"make_textures: {option} is {value}, needed at least {least}.")
    splits = [
        # A seed of its own for every split of every seed.
        _draw_split(inner, parent, count, image_size, torch.Generator().manual_seed(3 * seed + part))
        for part, count in enumerate((num_train, num_validation, num_test))
    ]
    name = f"textures:{inner.name}" + ("" if parent.name == "D4" else f" in {parent.name}")
    return ImageData.from_splits(name, *splits, classes=_classes(inner, parent))


def _classes(inner: Subgroup, parent: Subgroup) -> tuple[str, str]:
    if inner == parent:
        return "first motif", "second motif"
    return f"turned by {inner.name}", "turned otherwise"


def _draw_split(inner: Subgroup, parent: Subgroup, count: int, image_size: int, generator: torch.Generator) -> Split:
    labels = torch.arange(count) % 2
    centres = torch.randint(image_size, (count, _MOST_COPIES, 2), generator=generator)
    kinds = torch.stack([_random_kinds(pool, (count, _MOST_COPIES), generator) for pool in _kinds(inner, parent)])
    chosen = kinds[labels, torch.arange(count)]
    num_copies = torch.randint(_FEWEST_COPIES, _MOST_COPIES + 1, (count, 1), generator=generator)
    chosen[torch.arange(_MOST_COPIES) >= num_copies] = _ABSENT
    images = _GREY + _CONTRAST * _paste(centres, chosen, image_size)
    images += _NOISE * torch.randn(images.shape, generator=generator, dtype=images.dtype)
    return Split(images.round().clamp(0, 255).to(torch.uint8), labels)


def _kinds(inner: Subgroup, parent: Subgroup) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """What the copies of either class may be: element g of D4 on motif m is kind 8 m + g."""
    if inner == parent:
        second = parent.group.order
        return parent.indices, tuple(second + element for element in parent.indices)
    return inner.indices, tuple(element for element in parent.indices if element not in inner)


def _random_kinds(pool: tuple[int, ...], shape: tuple[int, int], generator: torch.Generator) -> Tensor:
    return torch.tensor(pool)[torch.randint(len(pool), shape, generator=generator)]


def _paste(centres: Tensor, kinds: Tensor, image_size: int) -> Tensor:
    """Images without noise, from where their copies are and which they are.

    Args:
        centres: Row and column of each copy's middle pixel, shape (images, copies, 2).
        kinds: Which copy, as `_kinds` numbers them, shape (images, copies); -1 for none.
        image_size: Side of an image, at least that of a motif.
    Returns:
        Shape (images, 1, image_size, image_size), float64: 1 and -1 where the last copy is light and dark, 0 elsewhere.
    """
    patches = _patches()
    images = torch.zeros(len(centres), image_size, image_size, dtype=torch.float64)
    offsets = torch.arange(_SIDE) - _SIDE // 2
    for centre, kind in zip(centres.unbind(1), kinds.unbind(1), strict=True):
        present = (kind != _ABSENT).nonzero()[:, 0]
        rows, columns = ((centre[present, axis, None] + offsets) % image_size for axis in (0, 1))
        images[present[:, None, None], rows[:, :, None], columns[:, None, :]] = patches[kind[present]]
    return images[:, None]


def _patches() -> Tensor:
    """Both motifs moved by every element of D4, shape (16, 5, 5), in the order of `_kinds`; no two are equal."""
    whole = group("D4")
    images = [transform(_motif(seed), g, whole, "trivial") for seed in _MOTIF_SEEDS for g in range(whole.order)]
    patches = torch.cat(images)[:, 0]
    assert len(patches.unique(dim=0)) == len(patches)  # so the motifs have no symmetry and are not each other moved
    return patches


def _motif(seed: int) -> Tensor:
    """A patch of 13 light (1) and 12 dark (-1) pixels in random places, shape (1, 1, 5, 5)."""
    order = torch.randperm(_SIDE * _SIDE, generator=torch.Generator().manual_seed(seed))
    return (1.0 - 2.0 * (order % 2)).double().view(1, 1, _SIDE, _SIDE)
