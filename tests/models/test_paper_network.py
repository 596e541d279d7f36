import itertools

import pytest
import torch
from torch import nn

import equimorph as em
from equimorph.errors import ConfigurationError, GroupError, ShapeError
from equimorph.models import PaperNetwork
from equimorph.testing import TOLERANCES, assert_equivariant, equivariance_errors

Z2, D4, OH = em.group("Z2"), em.group("D4"), em.group("Oh")
SUBGROUPS = [*Z2.subgroups(), *D4.subgroups(), em.group("O").whole, em.group("C4v@z").whole]
CHAINS = [chain for chain in itertools.product(D4.subgroups(), repeat=3) if chain[0] >= chain[1] >= chain[2]]
# In training mode the batch's own small variances magnify rounding. Measured: 3e-6, 9e-15.
TRAINING_TOLERANCES = {torch.float64: 1e-12, torch.float32: 1e-4}
every_subgroup = pytest.mark.parametrize("H", SUBGROUPS, ids=lambda H: f"{H}-{H.group}")


def small_network(group=D4, *, dtype=None, **options):
    settings = {
        "image_size": 8,
        "in_channels": 1,
        "num_classes": 3,
        "fields": 1,
        "depth": 2,
        "kernel_size": 3,
        "head_units": 4,
        "generator": torch.Generator().manual_seed(0),
    }
    return PaperNetwork(group=group, **settings | options).to(dtype)


def random_images(dim, side, *, batch=16, dtype=None):
    return torch.randn(batch, 1, *(side,) * dim, dtype=dtype)


def train(network, x, *, steps=3):
    """A few steps towards labels that break every symmetry, so that only the constraint keeps it."""
    optimizer = torch.optim.SGD(em.parameter_groups(network, lr=0.05), momentum=0.9)
    network.train()
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(x), torch.arange(len(x)) % 3).backward()
        optimizer.step()


def assert_invariant_in_both_modes(network, x):
    for training, tolerances in ((False, TOLERANCES), (True, TRAINING_TOLERANCES)):
        network.train(training)
        assert_equivariant(network, x, source="trivial", target="trivial", tolerance=tolerances[x.dtype])


@pytest.mark.parametrize("side", [8, 9], ids=["even", "odd"])
@every_subgroup
def test_outputs_are_invariant_before_and_after_training_in_both_modes(H, side, dtype):
    side = side if H.group.dim < 3 else side - 4
    network = small_network(H.group, constraints=H, image_size=side, pool_after=(1,), dtype=dtype)
    x = random_images(H.group.dim, side, dtype=dtype)
    assert_invariant_in_both_modes(network, x)
    train(network, x)
    assert_invariant_in_both_modes(network, x)


@pytest.mark.parametrize("pool_after", [(), (1,), (1, 2), (2, 3, 4)], ids=str)
def test_pooling_anywhere_keeps_the_outputs_invariant_at_every_size(pool_after, dtype):
    network = small_network(depth=4, pool_after=pool_after, dtype=dtype)
    for side in (8, 11, 12, 15):
        assert_invariant_in_both_modes(network, random_images(2, side, dtype=dtype))


@pytest.mark.parametrize("chain", CHAINS, ids=lambda chain: ",".join(map(str, chain)))
def test_a_network_keeps_what_all_its_sites_keep_and_no_more(chain):
    network = small_network(constraints=chain, dtype=torch.float64).eval()
    x = random_images(2, 8, batch=4, dtype=torch.float64)
    errors = equivariance_errors(network, x, source="trivial", target="trivial", constraint=D4.whole)
    kept = {h for h, error in errors.items() if error < TOLERANCES[x.dtype]}
    assert kept == set(chain[-1].indices) == set.intersection(*(set(H.indices) for H in chain))


def test_sites_are_the_convolutions_and_the_first_linear_layer_of_the_head():
    for depth in (1, 2, 5, 8):
        names = [*(f"block{number}.conv" for number in range(1, depth + 1)), "head.linear"]
        assert list(em.sites(small_network(depth=depth))) == names


def test_constraints_are_one_for_all_sites_or_one_for_each():
    assert set(em.sites(small_network()).values()) == {D4.whole}
    for one in ("C4", D4.subgroup("C4")):
        assert set(em.sites(small_network(constraints=one)).values()) == {D4.subgroup("C4")}
    mixed = small_network(constraints=["D4", D4.subgroup("C4"), "C2"])
    assert [H.name for H in em.sites(mixed).values()] == ["D4", "C4", "C2"]


@pytest.mark.parametrize("H", D4.subgroups(), ids=str)
def test_convolutions_have_the_papers_number_of_parameters(H):
    network = PaperNetwork(group=D4, constraints=H, image_size=28, in_channels=1, num_classes=10)
    found = sum(parameter.numel() for name, parameter in network.named_parameters() if ".conv." in name)
    cosets, positions = 8 // H.order, 5**2
    lift = cosets * positions * 16
    pairs = 3 * 16 * 16 + 16 * 32 + 3 * 32 * 32  # of fields, in the seven group convolutions
    assert found == lift + cosets * 8 * positions * pairs == 870_800 * cosets


def test_all_constraints_have_dense_kernels_of_the_same_shape():
    shapes = {
        H: [
            tuple(layer.dense_weight().shape)
            for layer in small_network(constraints=H).modules()
            if hasattr(layer, "dense_weight") and hasattr(layer, "space")
        ]
        for H in D4.subgroups()
    }
    assert all(shape == [(8, 1, 3, 3), (16, 8, 3, 3), (4, 16)] for shape in shapes.values())


def test_the_first_half_of_the_blocks_has_the_first_number_of_fields():
    for depth, widths in ((1, [1]), (2, [1, 3]), (3, [1, 1, 3]), (4, [1, 1, 3, 3]), (5, [1, 1, 1, 3, 3])):
        network = small_network(depth=depth, fields=(1, 3))
        assert [network.get_submodule(f"block{number}.norm").fields for number in range(1, depth + 1)] == widths
    assert small_network(fields=2).arguments["fields"] == [2, 4]


@pytest.mark.parametrize(
    ("side", "depth", "pools"),
    [(28, 8, [2, 4]), (12, 8, [2]), (64, 8, [2, 4, 6, 8]), (8, 8, [2]), (7, 8, []), (28, 3, [2]), (28, 1, [])],
)
def test_sides_are_halved_after_every_second_block_while_four_pixels_remain(side, depth, pools):
    network = small_network(image_size=side, depth=depth)
    assert network.arguments["pool_after"] == pools
    assert [name for name, _ in network.named_modules() if name.endswith(".pool")] == [f"block{n}.pool" for n in pools]


def test_stated_pools_are_taken():
    network = small_network(image_size=9, depth=3, pool_after=[3, 1])
    blocks = nn.Sequential(*list(network)[:3])
    assert blocks(torch.zeros(1, 1, 9, 9)).shape == (1, 16, 2, 2)


@pytest.mark.parametrize(("name", "dim"), [("Z2", 1), ("C4", 2), ("D4", 2), ("C4", 3), ("O", 3)])
def test_a_network_is_made_again_from_its_arguments(name, dim):
    group = em.group(name, dim=dim)
    network = small_network(group, constraints=[group.whole, group.whole, "C1"], image_size=6, num_classes=5).eval()
    twin = PaperNetwork.from_arguments(network.arguments, [H.name for H in em.sites(network).values()])
    assert em.sites(twin) == em.sites(network) and twin.arguments == network.arguments
    twin.load_state_dict(network.state_dict())
    x = random_images(dim, 6)
    assert torch.equal(twin.eval()(x), network(x))


@pytest.mark.parametrize("H", D4.subgroups(), ids=str)
def test_state_has_the_same_keys_and_shapes_in_training_and_evaluation(H):
    network = small_network(constraints=H)
    shapes = [
        {name: table.shape for name, table in network.train(training).state_dict().items()}
        for training in (True, False)
    ]
    parameters = {name for name, _ in network.named_parameters()}
    statistics = {f"{norm}.norm.running_{what}" for norm in ("block1", "block2", "head") for what in ("mean", "var")}
    assert shapes[0] == shapes[1] and set(shapes[0]) == parameters | statistics


def test_initial_values_are_the_generators_alone():
    one, two, other = (small_network(generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    for name, table in one.state_dict().items():
        assert torch.equal(table, two.state_dict()[name])
    x = random_images(2, 8)
    assert not torch.equal(one.eval()(x), other.eval()(x))


def test_a_generator_leaves_the_global_one_alone():
    before = torch.get_rng_state()
    small_network(generator=torch.Generator().manual_seed(1))
    assert torch.equal(torch.get_rng_state(), before)


def test_without_a_generator_the_global_one_is_drawn_from():
    torch.manual_seed(1)
    one = small_network(generator=None).state_dict()
    two = small_network(generator=None).state_dict()
    torch.manual_seed(1)
    again = small_network(generator=None).state_dict()
    assert all(torch.equal(table, again[name]) for name, table in one.items())
    assert not torch.equal(one["block1.conv.space.weight"], two["block1.conv.space.weight"])


@pytest.mark.parametrize("constraints", [["D4"], ["D4", "D4"], ["D4"] * 4, []], ids=len)
def test_a_wrong_number_of_constraints_is_refused(constraints):
    with pytest.raises(ConfigurationError, match=rf"{len(constraints)} constraints for 3 sites \(block1.conv, "):
        small_network(constraints=constraints)


@pytest.mark.parametrize(
    "chain",
    [
        chain
        for chain in itertools.product(("C1", "D1@0", "C4", "D4"), repeat=3)
        if not D4.subgroup(chain[0]) >= D4.subgroup(chain[1]) >= D4.subgroup(chain[2])
    ],
    ids=",".join,
)
def test_a_chain_that_grows_is_refused_with_the_two_sites(chain):
    first, second, third = map(D4.subgroup, chain)
    earlier, later = ("block1.conv", "block2.conv") if not second <= first else ("block2.conv", "head.linear")
    small, large = (first, second) if not second <= first else (second, third)
    with pytest.raises(ConfigurationError, match=f'"{later}" has {large} after "{earlier}" with {small}'):
        small_network(constraints=chain)


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"fields": 0}, ConfigurationError, r"fields is \(0, 0\).*at least one field"),
        ({"fields": (1, 0)}, ConfigurationError, r"fields is \(1, 0\)"),
        ({"fields": (1, 2, 3)}, ConfigurationError, "give one or two numbers"),
        ({"kernel_size": 4}, ConfigurationError, "kernel_size is 4; it must be odd"),
        ({"kernel_size": 0}, ConfigurationError, "kernel_size is 0; it must be odd"),
        ({"kernel_size": -1}, ConfigurationError, "kernel_size is -1; it must be odd"),
        ({"depth": 0}, ConfigurationError, "depth is 0; it must be at least one"),
        ({"in_channels": 0}, ConfigurationError, "in_channels is 0"),
        ({"num_classes": 0}, ConfigurationError, "num_classes is 0"),
        ({"head_units": 0}, ConfigurationError, "head_units is 0"),
        ({"pool_after": (3,)}, ConfigurationError, r"pool_after is \(3,\).*from 1 to 2"),
        ({"pool_after": (0,)}, ConfigurationError, r"pool_after is \(0,\)"),
        ({"pool_after": (1, 1)}, ConfigurationError, r"pool_after is \(1, 1\); it names different blocks"),
        ({"pool_after": (1, 2), "image_size": 3}, ShapeError, "images of 3 pixels are too small.*2 times.*least 4"),
        ({"image_size": 0}, ShapeError, "images of 0 pixels"),
        ({"group": "D5"}, GroupError, 'no group "D5"'),
        ({"constraints": "C3"}, GroupError, 'no subgroup "C3"'),
        ({"constraints": ["D4", "D4", "C3"]}, GroupError, 'no subgroup "C3"'),
        ({"constraints": OH.whole}, GroupError, "Oh"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_settings_that_make_no_network_are_refused(options, error, said):
    with pytest.raises(error, match=said):
        small_network(**options)


def test_images_just_large_enough_for_the_pooling_are_taken():
    network = small_network(image_size=4, pool_after=(1, 2))
    assert network(random_images(2, 4)).shape == (16, 3)


def test_a_slice_of_the_network_is_an_ordinary_sequence():
    network = PaperNetwork(group="D4", image_size=8, in_channels=1, num_classes=3, fields=1, depth=2)
    x = torch.randn(2, 1, 8, 8)
    front = network[:2]
    assert type(front) is torch.nn.Sequential and [name for name, _ in front.named_children()] == ["block1", "block2"]
    assert torch.equal(front(x), network[1](network[0](x)))
