from pathlib import Path

import pytest
import torch

import equimorph as em
from equimorph.data import ImageData, Split
from equimorph.data.audit.coincidence import Distances, describe, move
from equimorph.data.audit.labels import audit_labels
from equimorph.data.files import ENVIRONMENT_VARIABLE
from equimorph.errors import ConfigurationError, GroupError, ShapeError
from equimorph.groups import group
from equimorph.layers.features import transform

D4 = group("D4")
LEFT_RIGHT = next(h for h in range(8) if D4.subgroup_generated_by([h]).name == "D1@90")


def smooth_images(count, *, side=12, channels=1, dim=2, seed=0):
    """Random images without any symmetry, far from each other."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, channels, *[4] * dim, generator=generator)
    return torch.nn.functional.interpolate(coarse, size=[side] * dim, mode="nearest")


def as_data(x, y, name="made"):
    split = Split(x, y)
    return ImageData.from_splits(name, split, split, split, classes=tuple(f"c{k}" for k in range(int(y.max()) + 1)))


def mirrored_classes(bases=30, copies=1):
    """Class 1 is the left-right mirror image of class 0."""
    x = smooth_images(bases)
    x = torch.cat([x, transform(x, LEFT_RIGHT, D4, "trivial")]).repeat(copies, 1, 1, 1)
    return as_data(x, torch.tensor([0, 1]).repeat_interleave(bases).repeat(copies))


def shared_folder():
    import os

    folder = Path(os.environ.get(ENVIRONMENT_VARIABLE) or Path(__file__).parents[2] / "../shared/data")
    if not (folder / "mnist.npz").is_file():
        pytest.skip(f"no mnist.npz in {folder}")
    return folder


@pytest.mark.parametrize(("name", "dim"), [("Z2", 1), ("D4", 2), ("Oh", 3)])
def test_describing_commutes_with_every_element(name, dim):
    G = group(name, dim=dim)
    x = torch.rand(2, 2, *[13] * dim, generator=torch.Generator().manual_seed(0))
    told = describe(x)
    for h in range(G.order):
        torch.testing.assert_close(describe(transform(x, h, G, "trivial")), move(told, h, G), atol=2e-4, rtol=0)


def test_distances_are_those_of_moved_samples_for_every_element():
    told = describe(smooth_images(5))
    distances = Distances(told, D4)
    for h in range(D4.order):
        expected = torch.cdist(told.flatten(1).double(), move(told, h, D4).flatten(1).double())
        torch.testing.assert_close(distances.through([h]).double(), expected, atol=4e-3, rtol=0)


@pytest.mark.parametrize("copies", [1, 5])
def test_classes_that_are_mirror_images_cost_half_under_every_group_with_that_mirror(copies):
    found = audit_labels(mirrored_classes(copies=copies), D4)
    for member in found.evidence:
        has_mirror = LEFT_RIGHT in D4.subgroup(member.name)
        assert member.bound == (0.5 if has_mirror else 0.0)
        assert (member.verdict == "ruled out") == has_mirror
        assert member.ruled_out_by == (("D1@90",) if has_mirror else ())


def test_a_contradicting_pair_is_two_samples_of_which_one_moved_is_the_other():
    data = mirrored_classes()
    found = audit_labels(data, D4)
    assert found.pairs
    for pair in found.pairs:
        first, second = (data.train.x[row][None] for row in (pair.first, pair.second))
        assert pair.first != pair.second
        assert pair.first_label != pair.second_label
        assert torch.equal(first, transform(second, pair.element, D4, "trivial"))


def test_invariant_labels_are_possible_for_every_group_and_cost_nothing():
    bases = smooth_images(6)
    moved = torch.cat([transform(bases, h, D4, "trivial") for h in range(8)]).repeat(4, 1, 1, 1)
    found = audit_labels(as_data(moved, (torch.arange(6) % 2).repeat(32)), D4)
    assert {member.bound for member in found.evidence} == {0.0}
    assert found.named("possible") == tuple(H.name for H in D4.subgroups()[1:])
    assert found.suggested == tuple(H.name for H in em.search_groups("D4"))
    assert found.pairs == ()


def test_what_no_two_samples_show_is_unseen_and_not_called_possible():
    found = audit_labels(em.data.make_textures("C4", num_train=200), D4)
    assert found.named("possible") == found.named("ruled out") == ()
    assert found.base.coverage < 0.05


def test_a_group_is_possible_only_if_the_moves_that_were_seen_generate_it():
    half_turn = next(h for h in range(8) if D4.subgroup_generated_by([h]).name == "C2")
    bases = smooth_images(20)
    x = torch.cat([bases, bases, transform(bases, half_turn, D4, "trivial")])
    found = audit_labels(as_data(x, (torch.arange(20) % 2).repeat(3)), D4)
    assert found.named("possible") == ("C2",)
    assert "D4" in found.named("unseen")


def test_labels_at_random_on_equal_images_are_no_contradiction_of_a_move():
    bases = smooth_images(10)
    moved = torch.cat([transform(bases, h, D4, "trivial") for h in range(8)]).repeat(5, 1, 1, 1)
    labels = torch.randint(2, (400,), generator=torch.Generator().manual_seed(1))
    found = audit_labels(as_data(moved, labels), D4)
    assert found.base.bound > 0.1
    assert found.named("ruled out") == ()


def test_a_larger_group_never_has_a_lower_bound():
    x = smooth_images(80, side=4, seed=3).round()
    found = audit_labels(as_data(x, torch.arange(80) % 2), D4, tolerance=0.4)
    bounds = {member.name: member.bound for member in found.evidence}
    for H in D4.subgroups():
        assert all(bounds[K.name] <= bounds[H.name] for K in D4.subgroups() if K <= H)


def test_the_same_seed_gives_the_same_audit():
    data = mirrored_classes(copies=3)
    first, second = (audit_labels(data, D4, num_samples=50, seed=4) for _ in range(2))
    assert first == second


def test_every_class_has_its_share_of_the_samples_compared():
    data = mirrored_classes(copies=3)
    assert audit_labels(data, D4, num_samples=50).num_samples == 50


def test_suggestions_leave_out_what_is_ruled_out_but_keep_the_whole_group_and_none():
    assert audit_labels(mirrored_classes(), D4).suggested == ("C1", "C2", "C4", "D4")


def test_volumes_are_audited_under_a_few_subgroups_of_the_cube():
    Oh = group("Oh")
    mirror = next(h for h in range(48) if Oh.elements[h].tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, -1]])
    bases = smooth_images(15, side=8, dim=3)
    x = torch.cat([bases, transform(bases, mirror, Oh, "trivial")])
    found = audit_labels(as_data(x, torch.tensor([0, 1]).repeat_interleave(15)), Oh)
    assert [member.name for member in found.evidence] == [H.name for H in em.search_groups(Oh)]
    assert found.of("Oh").bound == 0.5
    assert found.of("O").bound == 0.0


def test_signals_are_audited():
    base = smooth_images(30, side=32, dim=1)
    found = audit_labels(as_data(torch.cat([base, base.flip(2)]), torch.arange(60) // 30), group("Z2"))
    assert found.of("Z2").bound == 0.5


def test_samples_without_any_edge_are_told_apart_by_their_brightness():
    x = torch.linspace(0, 1, 40)[:, None, None, None].expand(40, 1, 8, 8).contiguous()
    assert audit_labels(as_data(x, torch.arange(40) // 20), D4).named("ruled out") == ()


def test_only_the_groups_asked_for_are_audited():
    found = audit_labels(mirrored_classes(), D4, groups=["C4"])
    assert [member.name for member in found.evidence] == ["C1", "C4"]
    with pytest.raises(GroupError, match="no subgroup"):
        audit_labels(mirrored_classes(), D4, groups=["C3"])


@pytest.mark.parametrize("options", [{"num_samples": 1}, {"tolerance": 0.5}, {"seed": -1}, {"side": 3}], ids=str)
def test_a_number_out_of_range_is_refused(options):
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        audit_labels(mirrored_classes(), D4, **options)


def test_a_group_that_does_not_fit_the_samples_is_refused():
    with pytest.raises(ShapeError, match="take a group of that dimension"):
        audit_labels(mirrored_classes(), group("Oh"))
    wide = as_data(torch.rand(4, 1, 8, 10), torch.tensor([0, 1, 0, 1]))
    with pytest.raises(ShapeError, match="equal sides"):
        audit_labels(wide, D4)
    assert audit_labels(wide, group("D2")).num_samples == 4


@pytest.mark.shared_data
def test_upright_digits_cannot_be_turned_by_180_degrees_because_of_six_and_nine():
    data = em.data.load("mnist", shared_folder())
    found = audit_labels(data, group("C2"), num_samples=2000)
    assert found.of("C2").verdict == "ruled out"
    assert {"6", "9"} in [{pair.first_label, pair.second_label} for pair in found.pairs]
