import pytest
import torch
from torch import nn

import equimorph as em
from equimorph.errors import ConfigurationError, GroupError, ShapeError
from equimorph.models import ResNet
from equimorph.testing import TOLERANCES, assert_equivariant, equivariance_errors

Z2, D4 = em.group("Z2"), em.group("D4")
SUBGROUPS = [*Z2.subgroups(), *D4.subgroups(), em.group("D4@z").whole, em.group("D4@z").subgroup("C4@z")]
# In training mode the batch's own small variances magnify rounding. Measured: 2e-6, 5e-15.
TRAINING_TOLERANCES = {torch.float64: 1e-12, torch.float32: 1e-4}
NAMES = [
    "stem.conv",
    "stage1.block1.branch.conv1",
    "stage1.block1.branch.conv2",
    "stage2.block1.branch.conv1",
    "stage2.block1.branch.conv2",
    "stage2.block1.shortcut.conv",
    "head.linear",
]
CHAINS = [("D4", "D4"), ("D4", "C4"), ("D4", "D2@0"), ("D4", "C1"), ("C4", "C2"), ("C2", "C1")]
both_blocks = pytest.mark.parametrize("bottleneck", [False, True], ids=["plain", "bottleneck"])
every_subgroup = pytest.mark.parametrize("H", SUBGROUPS, ids=lambda H: f"{H}-{H.group}")


def small_network(group=D4, *, dtype=None, **options):
    settings = {
        "image_size": 8,
        "in_channels": 1,
        "num_classes": 3,
        "fields": (1, 2),
        "blocks": 1,
        "generator": torch.Generator().manual_seed(0),
    }
    return ResNet(group=group, **settings | options).to(dtype)


def random_images(dim, side, *, batch=16, dtype=None):
    return torch.randn(batch, 1, *(side,) * dim, dtype=dtype)


def count(network):
    return sum(parameter.numel() for parameter in network.parameters())


def train(network, x, *, steps=2):
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


@both_blocks
@every_subgroup
def test_outputs_are_invariant_before_and_after_training_in_both_modes(H, bottleneck, dtype):
    side = 7 if H.group.dim < 3 else 4
    network = small_network(H.group, constraints=H, image_size=side, bottleneck=bottleneck, dtype=dtype)
    x = random_images(H.group.dim, side, batch=16 if H.group.dim < 3 else 6, dtype=dtype)
    assert_invariant_in_both_modes(network, x)
    train(network, x)
    assert_invariant_in_both_modes(network, x)


@pytest.mark.parametrize("stem_pools", [0, 1])
def test_outputs_are_invariant_at_every_size(stem_pools, dtype):
    network = small_network(fields=(1, 1, 2), stem_pools=stem_pools, dtype=dtype)
    for side in (8, 9, 11, 14):
        assert_invariant_in_both_modes(network, random_images(2, side, dtype=dtype))


@pytest.mark.parametrize("chain", CHAINS, ids=",".join)
@pytest.mark.parametrize("first_freer", range(1, len(NAMES)))
def test_a_network_keeps_what_all_its_sites_keep_and_no_more(chain, first_freer):
    large, small = map(D4.subgroup, chain)
    constraints = [large] * first_freer + [small] * (len(NAMES) - first_freer)
    network = small_network(constraints=constraints, dtype=torch.float64).eval()
    x = random_images(2, 8, batch=4, dtype=torch.float64)
    errors = equivariance_errors(network, x, source="trivial", target="trivial", constraint=D4.whole)
    assert {h for h, error in errors.items() if error < TOLERANCES[x.dtype]} == set(small.indices)


@pytest.mark.parametrize("first_freer", range(1, len(NAMES)))
def test_up_to_each_site_the_features_commute_with_that_sites_constraint(first_freer):
    constraints = ["D4"] * first_freer + ["C4"] * (len(NAMES) - first_freer)
    network = small_network(constraints=constraints, dtype=torch.float64).eval()
    x = random_images(2, 8, batch=4, dtype=torch.float64)
    for part, last in (("stem", 0), ("stage1", 2), ("stage2", 5)):
        until = network[: list(network._modules).index(part) + 1]
        kept = D4.subgroup(constraints[last])
        errors = equivariance_errors(until, x, source="trivial", constraint=D4.whole)
        assert {h for h, error in errors.items() if error < TOLERANCES[x.dtype]} == set(kept.indices)


@both_blocks
def test_sites_are_in_an_order_in_which_the_network_may_be_run(bottleneck):
    network = small_network(fields=(1, 2, 2), blocks=(2, 1, 2), bottleneck=bottleneck)
    convolutions = 3 if bottleneck else 2
    names = ["stem.conv"]
    for stage, blocks in ((1, 2), (2, 1), (3, 2)):
        for block in range(1, blocks + 1):
            path = f"stage{stage}.block{block}"
            names += [f"{path}.branch.conv{number}" for number in range(1, convolutions + 1)]
            if path in (["stage1.block1", "stage2.block1"] if bottleneck else ["stage2.block1"]):
                names.append(f"{path}.shortcut.conv")
    assert list(em.sites(network)) == [*names, "head.linear"]
    called = []
    for name in names:
        network.get_submodule(name).register_forward_hook(lambda *_, name=name: called.append(name))
    network(random_images(2, 8))
    assert called == names


@both_blocks
def test_a_norm_follows_the_convolution_before_it(bottleneck):
    network = small_network(blocks=2, bottleneck=bottleneck)
    sites = em.layers.sites_of(network)
    *convolutions, last, head = sites
    assert all(sites[name].norms == (name.replace("conv", "norm"),) for name in convolutions)
    assert sites[last].norms == (last.replace("conv", "norm"), "head.norm") and sites[head].norms == ()


@pytest.mark.parametrize("H", D4.subgroups(), ids=str)
@both_blocks
def test_relaxing_any_site_leaves_the_output_the_same_to_the_bit(H, bottleneck):
    network = small_network(constraints=H, bottleneck=bottleneck)
    x = random_images(2, 8)
    train(network, x)
    expected = network.eval()(x)
    for name in em.sites(network):
        relaxed = em.relax(network, {name: "C1"})
        assert torch.equal(relaxed(x), expected)
        assert {site for site, K in em.sites(relaxed).items() if K != H} == ({name} if H.order > 1 else set())
    assert torch.equal(em.relax(network, "C1")(x), expected)


@pytest.mark.parametrize(("name", "dim"), [("Z2", 1), ("C4", 2), ("D4", 2), ("C4", 3)])
@both_blocks
def test_a_network_is_made_again_from_its_arguments(name, dim, bottleneck):
    group = em.group(name, dim=dim)
    options = {"stem_kernel_size": 5, "stem_pools": 1, "blocks": (1, 2), "num_classes": 5, "bottleneck": bottleneck}
    network = small_network(group, image_size=6, **options).eval()
    network = em.relax(network, {"head.linear": "C1"})
    twin = ResNet.from_arguments(network.arguments, [H.name for H in em.sites(network).values()])
    assert em.sites(twin) == em.sites(network) and twin.arguments == network.arguments
    twin.load_state_dict(network.state_dict())
    x = random_images(dim, 6)
    assert torch.equal(twin.eval()(x), network(x))


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_narrowed_it_is_ordinary_with_the_nearest_number_of_parameters(dim):
    network = small_network(em.group({1: "Z2", 2: "D4", 3: "C4@z"}[dim]), fields=(2, 3), image_size=4)
    sizes = {}
    for width in range(1, 9):
        arguments = network.arguments | {"group": "C1", "fields": [width, max(1, round(width * 3 / 2))]}
        sizes[width] = count(ResNet.from_arguments(arguments, None))
    for wanted in (1, sizes[1], sizes[2] + 1, (sizes[4] + sizes[5]) // 2 - 1, sizes[6]):
        found = network.narrowed(wanted)
        assert abs(count(found) - wanted) == min(abs(size - wanted) for size in sizes.values())
    assert {(H.group.name, H.group.dim) for H in em.sites(found).values()} == {("C1", dim)}
    changed = {key for key in network.arguments if network.arguments[key] != found.arguments[key]}
    assert changed == {"group", "fields"} and found(random_images(dim, 4)).shape == (16, 3)


def test_narrowed_its_values_are_the_generators_alone():
    network = small_network()
    before = torch.get_rng_state()
    one, two, other = (network.narrowed(900, torch.Generator().manual_seed(seed)).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)
    assert torch.equal(torch.get_rng_state(), before)


def test_initial_values_are_the_generators_alone():
    before = torch.get_rng_state()
    one, two, other = (small_network(generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(table, two.state_dict()[name]) for name, table in one.state_dict().items())
    x = random_images(2, 8)
    assert not torch.equal(one.eval()(x), other.eval()(x))


@pytest.mark.parametrize(
    ("options", "number"),
    [
        ({"fields": (2, 4), "blocks": 1}, 2_480),
        ({"fields": (4, 8, 16), "blocks": (1, 1, 1)}, 38_550),
        ({}, 347_138),
        ({"constraints": "C1"}, 2_777_034),
        ({"fields": (8, 16, 32, 64), "bottleneck": True, "blocks": (3, 4, 6, 3)}, 2_940_482),
    ],
    ids=str,
)
def test_sizes_go_from_a_few_thousand_parameters_to_millions(options, number):
    network = ResNet(group="D4", image_size=32, in_channels=1, num_classes=10, **options)
    assert count(network) == number


@pytest.mark.parametrize("H", D4.subgroups(), ids=str)
def test_the_number_of_parameters_is_that_of_the_orbits(H):
    cosets = 8 // H.order
    pairs = 2 * 2 * 2 + 2 * 4 + 4 * 4  # of fields, in the group convolutions of extent 3
    convolutions = cosets * (9 * 2 + 9 * 8 * pairs + 8 * 2 * 4)
    norms = cosets * 2 * (3 * 2 + 3 * 4 + 4)
    network = ResNet(group="D4", constraints=H, image_size=8, in_channels=1, num_classes=10, fields=(2, 4), blocks=1)
    assert count(network) == convolutions + norms + cosets * 4 * 10 + 10


@pytest.mark.parametrize("H", D4.subgroups(), ids=str)
def test_all_constraints_have_dense_kernels_of_the_same_shape(H):
    sites = em.layers.sites_of(small_network(constraints=H))
    shapes = {name: tuple(site.layer.dense_weight().shape) for name, site in sites.items()}
    expected = [(8, 1, 3, 3), (8, 8, 3, 3), (8, 8, 3, 3), (16, 8, 3, 3), (16, 16, 3, 3), (16, 8, 1, 1), (3, 16)]
    assert shapes == dict(zip(NAMES, expected, strict=True))


class LayersAreLeaves(torch.fx.Tracer):
    def is_leaf_module(self, module, qualified_name):
        return type(module).__module__.startswith("equimorph.layers") or super().is_leaf_module(module, qualified_name)


@both_blocks
def test_it_is_traced_and_exported(bottleneck):
    network = small_network(blocks=2, bottleneck=bottleneck).eval()
    x = random_images(2, 8)
    graph = LayersAreLeaves().trace(network)
    assert torch.equal(torch.fx.GraphModule(network, graph)(x), network(x))
    program = torch.export.export(network, (x,)).module()
    torch.testing.assert_close(program(x), network(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_it_goes_to_torchs_own_layers(dim):
    network = small_network(em.group({1: "Z2", 2: "D4", 3: "C4@z"}[dim]), image_size=5)
    x = random_images(dim, 5)
    train(network, x)
    ordinary = em.plain(network, x)
    torch.testing.assert_close(ordinary(x), network.eval()(x), rtol=1e-5, atol=1e-5)
    assert not any(type(module).__module__.startswith("equimorph.layers") for module in ordinary.modules())


@pytest.mark.parametrize(
    "strategy",
    [
        em.search.Evolutionary(groups=["C1", "D4"], generations=1, population=1, children=2),
        em.search.Differentiable(groups=["C1", "D4"]),
    ],
    ids=lambda strategy: strategy.name,
)
def test_both_searches_run_with_it(strategy):
    data = em.data.load("digits").subset(60)
    network = small_network(image_size=12, num_classes=10, fields=(1, 1))
    settings = em.training.TrainingSettings(epochs=3, batch_size=30)
    result = strategy.run(network, data, training=settings)
    assert type(result.best) is ResNet and list(em.sites(result.best)) == list(em.sites(network))


@pytest.mark.parametrize("number", [0, 1, 6, 8])
def test_a_wrong_number_of_constraints_is_refused(number):
    with pytest.raises(ConfigurationError, match=rf"{number} constraints for 7 sites \(stem.conv, stage1.block1.br"):
        small_network(constraints=["D4"] * number)


def test_a_chain_that_grows_is_refused_with_the_two_sites():
    for place in range(1, len(NAMES)):
        constraints = ["C4"] * place + ["D4"] * (len(NAMES) - place)
        with pytest.raises(ConfigurationError, match=f'"{NAMES[place]}" has D4 after "{NAMES[place - 1]}" with C4'):
            small_network(constraints=constraints)


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"fields": ()}, ConfigurationError, r"fields is \(\)"),
        ({"fields": (1, 0)}, ConfigurationError, r"fields is \(1, 0\).*at least one"),
        ({"blocks": 0}, ConfigurationError, r"blocks is \(0, 0\)"),
        ({"blocks": (1, 2, 1)}, ConfigurationError, r"2 stages by fields \(1, 2\) and 3 by blocks \(1, 2, 1\)"),
        ({"in_channels": 0}, ConfigurationError, "in_channels is 0"),
        ({"num_classes": 0}, ConfigurationError, "num_classes is 0"),
        ({"kernel_size": 2}, ConfigurationError, "kernel_size is 2; it must be odd"),
        ({"stem_kernel_size": 0}, ConfigurationError, "stem_kernel_size is 0; it must be odd"),
        ({"stem_pools": -1}, ConfigurationError, "stem_pools is -1"),
        ({"image_size": 1}, ShapeError, "images of 1 pixels are too small for pooling 1 times.*least 2"),
        ({"image_size": 7, "stem_pools": 2}, ShapeError, "images of 7 pixels.*3 times.*least 8"),
        ({"group": "D5"}, GroupError, 'no group "D5"'),
        ({"constraints": "C3"}, GroupError, 'no subgroup "C3"'),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_settings_that_make_no_network_are_refused(options, error, said):
    with pytest.raises(error, match=said):
        small_network(**options)


def test_images_just_large_enough_for_the_pooling_are_taken():
    network = small_network(image_size=4, fields=(1, 1, 1))
    assert network(random_images(2, 4)).shape == (16, 3)


def test_a_slice_of_the_network_is_an_ordinary_sequence():
    network, x = small_network(), random_images(2, 8)
    assert type(network[:2]) is nn.Sequential
    assert torch.equal(network[2:](network[:2](x)), network(x))
