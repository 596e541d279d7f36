import pytest
import torch
import torch.nn.functional as F

from equimorph.data import make_textures
from equimorph.data.tasks import textures
from equimorph.errors import ConfigurationError, GroupError
from equimorph.groups import group, search_groups
from equimorph.layers.features import transform

D4 = group("D4")
SUBGROUPS = D4.subgroups()
every_subgroup = pytest.mark.parametrize("subgroup", SUBGROUPS, ids=str)
every_size = pytest.mark.parametrize("image_size", [5, 12, 16, 17])


def splits_of(data):
    return data.train, data.validation, data.test


def random_image(pool, image_size, *, copies=4):
    """Where the copies of one image are, and which of the pool they are."""
    kinds = torch.tensor(pool)[torch.randint(len(pool), (1, copies))]
    return torch.randint(image_size, (1, copies, 2)), kinds


def moved_centres(centres, element, image_size):
    """An element acts on positions measured from the centre of the image, here twice them, to stay whole."""
    matrix = torch.from_numpy(D4.elements[element].copy())
    return ((2 * centres - (image_size - 1)) @ matrix.T + image_size - 1) // 2


def moved_kinds(kinds, element):
    table = torch.from_numpy(D4.table.copy())
    return kinds // 8 * 8 + table[element, kinds % 8]


def kinds_in(image):
    """The kinds of all whole copies that can be read in a clean image, wherever they are on the torus."""
    size = image.shape[-1]
    wrapped = F.pad(image, [0, 4, 0, 4], mode="circular") if size > 4 else image
    windows = wrapped[0, 0].unfold(0, 5, 1).unfold(1, 5, 1).reshape(-1, 1, 5, 5)
    equal = (windows == textures._patches()).all(-1).all(-1)
    return set(equal.any(0).nonzero()[:, 0].tolist())


def label_in(image, subgroup):
    """The class that a clean image shows."""
    found = kinds_in(image)
    fits = [found <= set(pool) for pool in textures._kinds(subgroup, D4.whole)]
    assert found and sum(fits) == 1
    return fits.index(True)


def test_the_motifs_are_kept_by_no_element_and_are_not_each_other_moved():
    patches = textures._patches()
    assert len(patches) == 16
    different = (patches[:, None] != patches).flatten(2).sum(2)
    assert different.fill_diagonal_(25).min() >= 10
    assert {tuple(patch.unique(return_counts=True)[1].tolist()) for patch in patches} == {(12, 13)}


@every_size
@pytest.mark.parametrize("element", range(D4.order))
def test_an_element_moves_every_copy_to_its_place_and_from_the_left(element, image_size):
    for _ in range(5):
        centres, kinds = random_image(range(16), image_size)
        moved = transform(textures._paste(centres, kinds, image_size), element, D4, "trivial")
        again = textures._paste(moved_centres(centres, element, image_size), moved_kinds(kinds, element), image_size)
        assert torch.equal(moved, again)


@every_subgroup
def test_every_element_of_the_subgroup_takes_each_class_to_itself(subgroup):
    for pool in textures._kinds(subgroup, D4.whole):
        for element in subgroup.indices:
            assert sorted(moved_kinds(torch.tensor(pool), element).tolist()) == sorted(pool)


@every_subgroup
def test_every_other_element_takes_class_0_into_class_1(subgroup):
    inside, outside = textures._kinds(subgroup, D4.whole)
    for element in set(range(D4.order)) - set(subgroup.indices):
        assert set(moved_kinds(torch.tensor(inside), element).tolist()) <= set(outside)


@every_subgroup
def test_the_label_that_an_image_shows_is_kept_by_the_subgroup_and_changed_by_every_other_element(subgroup):
    for _ in range(5):
        image = textures._paste(*random_image(textures._kinds(subgroup, D4.whole)[0], 16), 16)
        for element in range(D4.order):
            moved = transform(image, element, D4, "trivial")
            assert label_in(moved, subgroup) == (0 if element in subgroup else 1)
        image = textures._paste(*random_image(textures._kinds(subgroup, D4.whole)[1], 16), 16)
        for element in subgroup.indices:
            assert label_in(transform(image, element, D4, "trivial"), subgroup) == 1


@every_subgroup
def test_both_classes_use_all_their_copies_and_no_others(subgroup):
    inside, outside = textures._kinds(subgroup, D4.whole)
    assert inside == subgroup.indices and not set(inside) & set(outside)
    expected = range(8, 16) if subgroup.order == 8 else set(range(8)) - set(inside)
    assert set(outside) == set(expected)


@every_subgroup
def test_what_is_drawn_is_three_to_five_copies_of_the_class(subgroup, monkeypatch):
    drawn, paste = [], textures._paste
    monkeypatch.setattr(textures, "_paste", lambda *args: drawn.append(args) or paste(*args))
    data = make_textures(subgroup.name, num_train=400)
    centres, kinds, image_size = drawn[0]
    assert image_size == 16 and centres.shape == (400, 5, 2)
    assert centres.unique().tolist() == list(range(16))
    assert (kinds >= 0).sum(1).unique().tolist() == [3, 4, 5]
    for label, pool in enumerate(textures._kinds(subgroup, D4.whole)):
        used = kinds[data.train.y == label].unique().tolist()
        assert used == [-1, *sorted(pool)]


def test_images_are_the_clean_ones_with_weak_noise(monkeypatch):
    clean, paste = [], textures._paste
    monkeypatch.setattr(textures, "_paste", lambda *args: clean.append(paste(*args)) or clean[-1])
    splits = splits_of(make_textures("C4"))
    for image, split in zip(clean, splits, strict=True):
        noise = split.x.double() - (128 + 60 * image)
        assert abs(float(noise.mean())) < 0.2 and float(noise.std()) == pytest.approx(12, abs=0.2)


@pytest.mark.parametrize("subgroup", search_groups("D4"), ids=str)
def test_textures_have_their_sizes_and_balanced_classes(subgroup):
    data = make_textures(subgroup.name, num_train=40, num_validation=20, num_test=31, image_size=9)
    assert [split.y.bincount().tolist() for split in splits_of(data)] == [[20, 20], [10, 10], [16, 15]]
    assert (data.in_channels, data.image_size, data.dim, data.num_classes) == (1, 9, 2, 2)
    assert {split.x.dtype for split in splits_of(data)} == {torch.uint8}
    assert data.name == f"textures:{subgroup.name}"


def test_a_short_name_means_the_same_subgroup():
    one, two = make_textures("D1"), make_textures("D1@90")
    assert one.name == two.name == "textures:D1@90" and torch.equal(one.train.x, two.train.x)


@every_subgroup
def test_grey_levels_tell_nothing(subgroup):
    x, y = (getattr(make_textures(subgroup.name, num_train=4000).train, part) for part in "xy")
    shares = [(x[y == label].double().flatten() > 158).double().mean() for label in (0, 1)]
    assert abs(float(shares[0] - shares[1])) < 0.005  # 13 of 25 pixels of a copy are light; measured: at most 0.0025


def test_the_same_seed_gives_the_same_images_and_another_seed_others():
    one, same, other = (make_textures("C4", seed=seed) for seed in (3, 3, 4))
    for first, second, third in zip(*(splits_of(data) for data in (one, same, other)), strict=True):
        assert torch.equal(first.x, second.x) and torch.equal(first.y, second.y)
        assert not torch.equal(first.x, third.x)


def test_no_image_occurs_in_two_splits_or_under_two_seeds():
    images = [
        image.numpy().tobytes()
        for seed in range(3)
        for split in splits_of(make_textures("C2", num_train=100, num_validation=100, num_test=100, seed=seed))
        for image in split.x
    ]
    assert len(set(images)) == 900


def test_the_number_of_training_images_changes_the_training_split_alone():
    few, many = make_textures("C4", num_train=10), make_textures("C4", num_train=200)
    assert (len(few.train), len(many.train)) == (10, 200)
    for part in ("validation", "test"):
        assert torch.equal(getattr(few, part).x, getattr(many, part).x)
        assert torch.equal(getattr(few, part).y, getattr(many, part).y)


def test_making_textures_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    make_textures("C4")
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("ambient", SUBGROUPS, ids=str)
def test_in_a_smaller_ambient_group_no_copy_lies_outside_it(ambient):
    for subgroup in SUBGROUPS:
        if subgroup <= ambient:
            inside, outside = textures._kinds(subgroup, ambient)
            assert inside == subgroup.indices
            assert {kind % 8 for kind in (*inside, *outside)} == set(ambient.indices)
            for element in ambient.indices:
                moved = set(moved_kinds(torch.tensor(inside), element).tolist())
                assert moved == set(inside) if element in subgroup else moved <= set(outside)


def test_a_smaller_ambient_group_is_in_the_name():
    assert make_textures("C2", num_train=10, ambient="C4").name == "textures:C2 in C4"


def test_an_ambient_group_without_the_subgroup_is_refused():
    with pytest.raises(GroupError, match="make_textures: C4 does not contain D1@90"):
        make_textures("D1", ambient="C4")


@pytest.mark.parametrize("option", ["subgroup", "ambient"])
def test_an_unknown_group_is_refused_with_those_there_are(option):
    with pytest.raises(GroupError, match=r'no subgroup "C3"; there are C1, .*D4'):
        make_textures(**{"subgroup": "C1"} | {option: "C3"})


@pytest.mark.parametrize(
    ("option", "value", "least"),
    [("num_train", 1, 2), ("num_validation", 0, 2), ("num_test", -3, 2), ("image_size", 4, 5), ("seed", -1, 0)],
)
def test_numbers_that_are_too_small_are_refused(option, value, least):
    with pytest.raises(ConfigurationError, match=f"make_textures: {option} is {value}, needed at least {least}"):
        make_textures("C4", **{option: value})
