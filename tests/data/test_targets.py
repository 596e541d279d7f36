"""Targets of every kind: told apart, checked, divided, made smaller and moved with their samples."""

from itertools import pairwise

import pytest
import torch

from equimorph.data import Augmentation, ImageData, Split
from equimorph.data.targets import IGNORED, kind_of, smaller_maps
from equimorph.errors import ConfigurationError, DataError, ShapeError
from equimorph.groups import group
from equimorph.layers.features import transform

SIDES = {1: (6,), 2: (6, 6), 3: (4, 4, 4)}
GROUPS = {1: "Z2", 2: "D4", 3: "Oh"}
FILLS = ["reflection", "border", "mean"]


def generator_of(seed=0):
    return torch.Generator().manual_seed(seed)


def targets_of(kind, count, dim=2):
    """Targets that tell the number of their sample."""
    numbers, sides = torch.arange(count), SIDES[dim]
    ones = [1] * dim
    return {
        "classes": numbers % 3,
        "value": numbers.double(),
        "values": torch.stack([numbers, -numbers], 1).double(),
        "class maps": (numbers % 3).view(-1, *ones).expand(-1, *sides).contiguous(),
        "value maps": torch.stack([numbers, -numbers], 1).double().view(-1, 2, *ones).expand(-1, -1, *sides).clone(),
    }[kind]


KINDS = {"classes": "classes", "value": "values", "values": "values", "class maps": "maps", "value maps": "maps"}
WHOLE = ("classes", "class maps")
every_kind = pytest.mark.parametrize("kind", KINDS)


def data_of(kind, sizes=(20, 8, 12), dim=2, *, groups=None, classes=None):
    """Each sample is filled with its number."""
    count = sum(sizes)
    x = torch.arange(count).double().view(-1, *[1] * (dim + 1)).expand(-1, 1, *SIDES[dim])
    y = targets_of(kind, count, dim)
    parts = torch.arange(count).split(sizes)
    splits = [Split(x[part], y[part], groups=None if groups is None else groups[part]) for part in parts]
    names = (("a", "b", "c") if kind in WHOLE else ()) if classes is None else classes
    return ImageData.from_splits("numbered", *splits, classes=names)


def numbers_of(split):
    return split.x.flatten(1)[:, 0].long()


def splits_of(data):
    return data.train, data.validation, data.test


@pytest.mark.parametrize("dim", [1, 2, 3])
@every_kind
def test_each_kind_is_told_by_dtype_and_shape(kind, dim):
    assert data_of(kind, dim=dim).targets == KINDS[kind]
    assert kind_of(targets_of(kind, 5, dim), dim) == KINDS[kind]


@pytest.mark.parametrize(
    ("y", "error", "message"),
    [
        (torch.zeros(4, 3, dtype=torch.int64), ShapeError, r"shape \(4, 3\).*needed \(samples,\) or \(samples, \*spat"),
        (torch.zeros(4, 3, 6), ShapeError, r"2 spatial axes; needed \(samples,\), \(samples, k\) or \(samples, k, \*"),
        (torch.zeros(4, 1, 1, 6, 6), ShapeError, "needed"),
        (torch.zeros(4, dtype=torch.bool), DataError, r"torch.bool; .*y.float\(\)"),
        (torch.zeros(4, 2, dtype=torch.complex64), DataError, "complex64"),
    ],
)
def test_targets_of_no_kind_are_refused_with_the_kinds_there_are(y, error, message):
    with pytest.raises(error, match=message):
        Split(torch.zeros(4, 1, 6, 6), y)


@pytest.mark.parametrize(
    ("kinds", "classes"),
    [(("classes", "value"), "abc"), (("value", "values"), ""), (("class maps", "value maps"), "abc")],
)
def test_splits_with_different_targets_are_refused(kinds, classes):
    x = torch.zeros(3, 1, 6, 6)
    splits = [Split(x, targets_of(kind, 3)) for kind in (kinds[0], kinds[0], kinds[1])]
    with pytest.raises(DataError, match="targets differ between training, validation and test"):
        ImageData.from_splits("mixed", *splits, classes=tuple(classes))


@pytest.mark.parametrize("kind", WHOLE)
@pytest.mark.parametrize("classes", [(), ("a", "b")])
def test_labels_without_a_name_are_refused(kind, classes):
    with pytest.raises(DataError, match=f"labels from 0 to 2 and {len(classes)} names"):
        data_of(kind, classes=classes)


def test_pixels_may_have_no_class_and_samples_must():
    x, y = torch.zeros(3, 1, 6, 6), targets_of("class maps", 3)
    y[:, 0] = IGNORED
    split = Split(x, y)
    assert ImageData.from_splits("holes", split, split, split, classes=("a", "b", "c")).num_classes == 3
    split = Split(x, torch.tensor([0, 1, IGNORED]))
    with pytest.raises(DataError, match="labels from -100 to 1"):
        ImageData.from_splits("holes", split, split, split, classes=("a", "b"))


@pytest.mark.parametrize(("kind", "count"), [("value", 1), ("values", 2), ("value maps", 2)])
def test_numbers_have_a_name_each_or_none(kind, count):
    assert data_of(kind).num_classes == 0
    assert data_of(kind, classes=("a", "b")[:count]).description()["classes"] == ["a", "b"][:count]
    with pytest.raises(DataError, match=f"3 names in classes and {count} numbers"):
        data_of(kind, classes=("a", "b", "c"))


@every_kind
def test_samples_drawn_anew_keep_their_targets(kind):
    data = data_of(kind)
    drawn = data.resplit(3)
    found = torch.cat([numbers_of(split) for split in splits_of(drawn)])
    assert sorted(found.tolist()) == list(range(40)) and found.tolist() != list(range(40))
    assert [len(split) for split in splits_of(drawn)] == [20, 8, 12]
    everything = targets_of(kind, 40)
    assert all(torch.equal(split.y, everything[numbers_of(split)]) for split in splits_of(drawn))
    assert drawn.notes.split == f"all samples drawn anew with seed 3{', by class' if kind == 'classes' else ''}"
    again = data.resplit(3)
    assert all(torch.equal(a.y, b.y) for a, b in zip(splits_of(drawn), splits_of(again), strict=True))


@every_kind
def test_no_group_is_divided_when_samples_are_drawn_anew(kind):
    drawn = data_of(kind, groups=torch.arange(40) // 4).resplit(1)
    groups = [set((numbers_of(split) // 4).tolist()) for split in splits_of(drawn)]
    assert sum(map(len, groups)) == 10 == len(set().union(*groups))
    assert [len(split) for split in splits_of(drawn)] == [20, 8, 12]


@every_kind
def test_a_smaller_subset_lies_within_every_larger_one(kind):
    data = data_of(kind)
    least = 3 if kind == "classes" else 1
    chosen = [set(numbers_of(data.subset(count).train).tolist()) for count in range(least, 21)]
    assert all(len(one) + 1 == len(two) and one < two for one, two in pairwise(chosen))
    with pytest.raises(ConfigurationError, match=f"needed {least}.* to 20"):
        data.subset(least - 1)


@pytest.mark.parametrize("kind", ["value", "class maps", "value maps"])
def test_data_made_smaller_keep_values_and_shrink_maps(kind):
    smaller = data_of(kind).resized(2)
    assert smaller.train.x.shape[2:] == (2, 2)
    y = data_of(kind).train.y
    expected = y if kind == "value" else y[..., :2, :2]
    assert torch.equal(smaller.train.y, expected)


@pytest.mark.parametrize("side", [1, 2, 3, 4, 5])
def test_classes_made_smaller_commute_with_every_turn_and_mirror(side):
    y = torch.randint(0, 4, (5, 6, 6), generator=generator_of())
    y[y == 3] = IGNORED
    ambient = group("D4")
    small = smaller_maps(y, (6, 6), (side, side))
    assert set(small.unique().tolist()) <= {IGNORED, 0, 1, 2}
    for element in range(ambient.order):
        moved = transform(y[:, None], element, ambient, "trivial")[:, 0]
        expected = transform(small[:, None], element, ambient, "trivial")[:, 0]
        assert torch.equal(smaller_maps(moved, (6, 6), (side, side)), expected)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int32, torch.int64])
def test_classes_of_pixels_may_be_of_any_whole_dtype(dtype):
    y = targets_of("class maps", 5).to(dtype)
    split = Split(torch.zeros(5, 1, 6, 6), y)
    data = ImageData.from_splits("small", split, split, split, classes=("a", "b", "c"))
    assert torch.equal(data.resized(3).train.y, y[:, :3, :3]) and data.resized(3).train.y.dtype == dtype
    with pytest.raises(DataError, match="labels from 0 to 2"):
        ImageData.from_splits("small", split, split, split, classes=("a", "b"))
    if dtype == torch.uint8:
        bad = Split(torch.zeros(5, 1, 6, 6), torch.full_like(y, 156))  # -100 in two's complement
        with pytest.raises(DataError, match="labels from 156 to 156"):
            ImageData.from_splits("small", bad, bad, bad, classes=("a", "b", "c"))


def test_maps_of_other_sides_are_not_made_smaller():
    x, y = torch.zeros(3, 1, 6, 6), torch.zeros(3, 1, 3, 3)
    split = Split(x, y)
    with pytest.raises(ConfigurationError, match=r"maps of sides \(3, 3\) for samples of sides \(6, 6\)"):
        ImageData.from_splits("coarse", split, split, split).resized(2)


def both(augmentation, x, maps, *, seed=0, outside=0.0):
    """Sample and map as the batches have them, and the sample as they have it without a map."""
    generator, alone = generator_of(seed), generator_of(seed)
    moved, maps = augmentation.moved_with(x, maps, generator)
    changed, maps = augmentation.changed_with(moved, maps, generator, outside=torch.as_tensor(outside))
    expected = augmentation.changed(augmentation.moved(x, alone), alone)
    assert torch.equal(changed, expected)  # a map changes nothing of what is drawn
    return changed, maps


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_maps_are_moved_by_every_element_that_their_samples_are(dim):
    ambient = group(GROUPS[dim], dim=dim)
    augmentation = Augmentation(dim, move=GROUPS[dim])
    x = torch.arange(400 * 4**dim).double().reshape(400, 1, *[4] * dim)
    seen = set()
    y, maps = both(augmentation, x, x.repeat(1, 2, *[1] * dim))
    assert torch.equal(maps, y.repeat(1, 2, *[1] * dim))
    y, labels = both(augmentation, x, x[:, 0].long())
    assert labels.dtype == torch.int64 and torch.equal(labels, y[:, 0].long())
    for sample, moved in zip(x, y, strict=True):
        seen |= {
            h for h in range(ambient.order) if torch.equal(transform(sample[None], h, ambient, "trivial")[0], moved)
        }
    assert seen == set(range(ambient.order))


@pytest.mark.parametrize("dim", [1, 2, 3])
@pytest.mark.parametrize("fill", FILLS)
def test_floating_maps_are_read_where_their_samples_are(dim, fill):
    turn = "none" if dim == 1 else "any"
    augmentation = Augmentation(dim, turn=turn, mirror=True, shift=0.3, scale=0.3, fill=fill)
    x = torch.randn(50, 1, *SIDES[dim], generator=generator_of(), dtype=torch.float64)
    y, maps = both(augmentation, x, torch.cat([x, x + 5], 1), outside=torch.tensor([0.0, 5.0]).view(2, *[1] * dim))
    torch.testing.assert_close(maps, torch.cat([y, y + 5], 1))


@pytest.mark.parametrize("dim", [1, 2, 3])
@pytest.mark.parametrize("fill", FILLS)
def test_classes_come_from_the_nearest_pixel_and_none_is_made_up(dim, fill):
    augmentation = Augmentation(dim, mirror=True, shift=0.4, fill=fill)
    x = torch.randn(60, 1, *SIDES[dim], generator=generator_of(), dtype=torch.float64)
    labels = 1 + torch.randint(0, 2, (60, *SIDES[dim]), generator=generator_of()) * 2  # 1 and 3
    _, moved = both(augmentation, x, labels, outside=IGNORED)
    assert moved.dtype == labels.dtype
    assert set(moved.unique().tolist()) == ({1, 3, IGNORED} if fill == "mean" else {1, 3})


def test_a_shift_by_whole_pixels_moves_classes_as_it_moves_samples(monkeypatch):
    augmentation = Augmentation(2, shift=0.5)
    shifts = torch.tensor([[1.0, 0.0], [0.0, -2.0], [2.0, 1.0]]).double()
    maps = torch.eye(2, dtype=torch.float64).repeat(3, 1, 1)
    monkeypatch.setattr(Augmentation, "_draw_maps", lambda *_: (maps, shifts))
    labels = torch.randint(0, 9, (3, 6, 6), generator=generator_of())
    y, moved = both(augmentation, labels[:, None].double(), labels)
    torch.testing.assert_close(moved.double(), y[:, 0])


def test_maps_of_half_the_sides_are_moved_by_the_same_shares():
    augmentation = Augmentation(2, turn="any", shift=0.2, fill="border")
    rows, columns = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")
    x = (rows + 2 * columns).double().expand(40, 1, 8, 8)
    coarse = torch.nn.functional.avg_pool2d(x, 2)
    y, maps = both(augmentation, x, coarse)
    inner = torch.nn.functional.avg_pool2d(y, 2)[:, :, 1:3, 1:3] - maps[:, :, 1:3, 1:3]
    assert inner.abs().median() < 1e-9  # a plane is read exactly wherever its border is not reached


def test_gain_and_offset_leave_maps_alone():
    x = torch.randn(5, 1, 6, 6, generator=generator_of())
    y, maps = both(Augmentation(2, intensity=0.5), x, x)
    assert torch.equal(maps, x) and not torch.equal(y, x)
