"""Every morphism, and the optimizer that follows, on networks that were converted from a user's own."""

import copy
import functools
import json
import pickle

import pytest
import reference
import torch
import torch.nn.functional as F
from architectures import architecture
from torch import nn
from torch.optim import SGD, Adam, AdamW

import equimorph as em
from equimorph.groups import search_groups
from equimorph.layers import BatchNorm, Constrained, TiedParameter, sites_of
from equimorph.layers._base import parameter_orbits
from equimorph.layers.parameter import bound_parameters
from equimorph.morphisms.describe import describe_spaces, rebuild_spaces
from equimorph.morphisms.relax import constrained_module
from equimorph.search.random_static import random_chain

# Between them: branches, grouped, depthwise and transposed convolutions, gates, scales of layers, flattened maps,
# layers used twice, parts of one layer for images and features, signals and volumes.
NAMES = ("vgg", "resnext", "mobilenetv3", "convnext", "unet", "bilinear-unet", "cbam", "resnet3d", "resnet1d")
every_network = pytest.mark.parametrize("name", NAMES)
some_networks = pytest.mark.parametrize("name", ["mobilenetv3", "convnext", "bilinear-unet", "cbam"])
dtype64 = {"dtype": torch.float64}


def group_of(name):
    case = architecture(name)
    return em.group(case.group, dim=len(case.sides))


@torch.no_grad()
def perturbed(network, seed=0):
    """As if trained: all parameters and statistics somewhere else."""
    network, generator = copy.deepcopy(network), torch.Generator().manual_seed(seed)
    for name, tensor in [*network.named_parameters(), *network.named_buffers()]:
        if tensor.is_floating_point() and not name.endswith("initial"):
            noise = torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype)
            tensor.mul_(1 + 0.1 * noise).add_(0.05 * noise.abs())
    return network


@functools.cache
def converted(name, group=None):
    case = architecture(name)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, example = case.model().double(), case.example(**dtype64)
    network = em.equivariantize(model, group or group_of(name), example, generator=torch.Generator().manual_seed(0))
    return perturbed(network).eval()


@functools.cache
def example_of(name):
    return architecture(name).example(2, **dtype64)


def chains_of(name, count):
    members, names = search_groups(group_of(name)), list(em.sites(converted(name)))
    generator = torch.Generator().manual_seed(7)
    for _ in range(count):
        yield dict(zip(names, random_chain(members, len(names), generator), strict=True))


def difference(found, expected):
    return reference.relative_error(found.detach(), expected.detach())


@every_network
@torch.no_grad()
def test_relaxing_a_single_site_keeps_the_function_to_the_bit(name):
    network, x = converted(name), example_of(name)
    expected, generator = network(x), torch.Generator().manual_seed(1)
    proper = [H for H in group_of(name).subgroups() if H.order < group_of(name).order]
    for site, found in sites_of(network).items():
        H = proper[int(torch.randint(len(proper), (), generator=generator))]
        relaxed = em.relax(network, {site: H})
        assert torch.equal(relaxed(x), expected), (site, H)
        assert em.sites(relaxed) == {**em.sites(network), site: H}
        assert all(constrained_module(relaxed, norm).constraint == H for norm in found.norms)
    assert set(em.sites(network).values()) == {group_of(name).whole}


@every_network
@torch.no_grad()
def test_along_a_chain_the_function_stays_and_what_is_common_is_kept_in_all_that_training_may_do(name):
    network, x = converted(name), example_of(name)
    expected = network(x)
    for chain in chains_of(name, 3):
        relaxed = em.relax(network, chain)
        assert torch.equal(relaxed(x), expected)
        assert list(em.sites(relaxed).items()) == list(chain.items())
        trained, kept = perturbed(relaxed, 1), list(chain.values())[-1]
        errors = em.testing.equivariance_errors(trained, x, source="trivial", target="trivial", constraint=kept)
        assert max(errors.values()) < 1e-11
        step = em.relax(relaxed, {list(chain)[-1]: "C1"})  # one more relaxation of what was relaxed already
        assert torch.equal(step(x), expected)


@some_networks
def test_the_audit_finds_what_a_chain_keeps(name):
    network = converted(name)
    D4, names = group_of(name), list(em.sites(network))
    half = len(names) // 2
    chain = {site: "D4" if place < half else "C4" for place, site in enumerate(names)}
    trained = perturbed(em.relax(network, chain), 1)
    found = em.audit(trained, example_of(name))
    kept = set(D4.subgroup("C4").indices)
    assert {h for h, error in found.output_errors.items() if error <= found.tolerance} == kept
    assert not found.unknown and all(row.errors[h] <= found.tolerance for row in found.rows for h in kept)


@every_network
@torch.no_grad()
def test_constraining_what_was_relaxed_comes_back(name):
    network, x = converted(name), example_of(name)
    relaxed = em.relax(network, next(chains_of(name, 1)))
    back = em.constrain(relaxed, group_of(name).whole)
    assert em.sites(back) == em.sites(network) and difference(back(x), network(x)) < 1e-12
    nearest = em.constrain(perturbed(relaxed, 1), group_of(name).whole)
    errors = em.testing.equivariance_errors(nearest, x, source="trivial", target="trivial")
    assert max(errors.values()) < 1e-11
    assert back.conversion is network.conversion


@every_network
@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@torch.no_grad()
def test_a_mixture_has_the_function_and_discretised_is_the_network_again(name, tied):
    network, x = converted(name), example_of(name)
    mixed = em.mix(network, tied=tied)
    assert list(em.mixture_shares(mixed)) == list(em.sites(network))
    assert difference(mixed(x), network(x)) < 1e-10
    found = em.discretize(mixed)  # of equal shares the largest group's counts
    assert em.sites(found) == em.sites(network) and difference(found(x), network(x)) < 1e-10
    assert {type(found.get_submodule(site).space).__name__ for site in em.sites(found)} == {"TiedSpace"}


@some_networks
@torch.no_grad()
def test_a_mixture_with_other_shares_becomes_the_best_chain(name):
    mixed = em.mix(converted(name), ["C1", "C4", "D4"], skip=True)
    names = list(em.sites(mixed))
    wanted = {site: "D4" if place < 2 else "C4" for place, site in enumerate(names)}
    for site, member in wanted.items():
        space = mixed.get_submodule(site).space
        space.logits[space.member_names.index(member)] += 3
    found = em.discretize(mixed)
    assert {site: H.name for site, H in em.sites(found).items()} == wanted
    norms = {norm: site for site, each in sites_of(found).items() for norm in each.norms}
    assert all(constrained_module(found, norm).constraint.name == wanted[site] for norm, site in norms.items())


@every_network
@torch.no_grad()
def test_a_residual_pathway_keeps_the_function(name):
    network, x = converted(name), example_of(name)
    soft = em.add_residual(network)
    assert difference(soft(x), network(x)) < 1e-11
    assert list(em.sites(soft)) == list(em.sites(network))


@every_network
def test_reinitialised_everything_is_drawn_anew_and_the_same_for_the_same_generator(name):
    network = em.relax(converted(name), next(chains_of(name, 1)))
    one, two, other = (em.reinitialize(network, torch.Generator().manual_seed(seed)) for seed in (3, 3, 4))
    assert all(torch.equal(tensor, two.state_dict()[key]) for key, tensor in one.state_dict().items())
    before = dict(network.named_parameters())
    assert not [key for key, parameter in one.named_parameters() if torch.equal(parameter, before[key])]
    for site in em.sites(one):
        assert not torch.equal(one.get_submodule(site).dense_weight(), other.get_submodule(site).dense_weight())
    for module in one.modules():
        if isinstance(module, TiedParameter):
            assert torch.equal(module.table, module.initial)
        elif isinstance(module, BatchNorm):
            assert (module.weight == 1).all() and not module.bias.any() and (module.running_var == 1).all()
    assert em.sites(one) == em.sites(network)


@every_network
def test_the_tied_parameters_begin_again_with_what_the_model_gave_them(name):
    case = architecture(name)
    network = em.equivariantize(case.model(), group_of(name), case.example())
    first = {path: module() for path, module in network.named_modules() if isinstance(module, TiedParameter)}
    again = em.reinitialize(em.relax(perturbed(network), "C1"), torch.Generator().manual_seed(0))
    for path, values in first.items():
        assert torch.allclose(again.get_submodule(path)(), values, atol=1e-7)
    assert bool(first) == (name in ("convnext", "bilinear-unet"))


@every_network
def test_spaces_come_back_from_their_description_and_the_state(name):
    x, mixed = example_of(name), ["C1", group_of(name).name]
    for network in (
        em.relax(converted(name), next(chains_of(name, 1))),
        em.mix(converted(name), mixed),
        em.add_residual(converted(name)),
    ):
        described = json.loads(json.dumps(describe_spaces(network)))
        assert list(described) == list(em.sites(network))
        rebuilt = rebuild_spaces(em.reinitialize(converted(name), torch.Generator()), described)
        rebuilt.load_state_dict(network.state_dict())
        assert torch.equal(rebuilt(x), network(x)) and describe_spaces(rebuilt) == described


def model_of(name):
    case = architecture(name)
    return case.model(), group_of(name), case.example()


@every_network
def test_a_copy_keeps_order_conversion_and_bound_parameters(name):
    network, x = converted(name), example_of(name)
    for made in (copy.deepcopy(network), copy.deepcopy(em.relax(network, "C1")), pickle.loads(pickle.dumps(network))):
        assert list(em.sites(made)) == list(em.sites(network))
        assert [site.norms for site in sites_of(made).values()] == [site.norms for site in sites_of(network).values()]
        assert str(made.conversion) == str(network.conversion) and callable(made.narrowed)
        bound = [(path, key) for path, part in network.named_modules() for key, _ in bound_parameters(part)]
        assert [(path, key) for path, part in made.named_modules() for key, _ in bound_parameters(part)] == bound
        assert torch.equal(made(x), network(x))
        assert not {id(p) for p in made.parameters()} & {id(p) for p in network.parameters()}


@every_network
def test_the_state_of_a_relaxed_network_fits_one_that_was_relaxed_likewise(name):
    chain, x = next(chains_of(name, 1)), example_of(name)
    saved = perturbed(em.relax(converted(name), chain), 5)
    other = em.relax(em.equivariantize(*model_of(name)).double(), chain).eval()
    other.load_state_dict(copy.deepcopy(saved).train().state_dict(), strict=True)
    assert torch.equal(other(x), saved(x))


def running_order(name):
    """The paths of the sites as they are called, each at its first call."""
    network, called = copy.deepcopy(converted(name)), []
    for path in em.sites(network):
        network.get_submodule(path).register_forward_hook(lambda *_, path=path: called.append(path))
    network(example_of(name))
    return list(dict.fromkeys(called))


@every_network
def test_inside_another_network_the_order_is_the_same(name):
    network, names = converted(name), running_order(name)
    around = nn.Sequential(network, nn.Softmax(1))
    assert list(em.sites(around)) == [f"0.{site}" for site in names]
    deeper = nn.ModuleDict({"inner": around, "other": nn.Linear(2, 2)})
    norms = [[f"inner.0.{norm}" for norm in site.norms] for site in sites_of(network).values()]
    assert list(em.sites(deeper)) == [f"inner.0.{site}" for site in names]
    assert [list(site.norms) for site in sites_of(deeper).values()] == norms
    relaxed, x = em.relax(around, {f"0.{names[-1]}": "C1"}), example_of(name)
    assert list(em.sites(relaxed)) == [f"0.{site}" for site in names] and torch.equal(relaxed(x), around(x))


class Varied(nn.Module):
    """Every kind of layer whose parameters are tied: all norms, an activation, a scale, depthwise and transposed.

    No bias is in front of a norm that takes it away again: its gradient is rounding, which Adam would make large.
    """

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 16, 3, padding=1, bias=False)
        self.group_norm = nn.GroupNorm(2, 16)
        self.slope = nn.PReLU(16)
        self.depthwise = nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.layer_norm = nn.LayerNorm(16)
        self.expand = nn.Linear(16, 16)
        self.scale = nn.Parameter(0.5 * torch.ones(16))
        self.down = nn.Conv2d(16, 16, 2, stride=2, groups=2)
        self.up = nn.ConvTranspose2d(16, 8, 2, stride=2, bias=False)
        self.instance_norm = nn.InstanceNorm2d(8, affine=True)
        self.join = nn.Conv2d(24, 8, 3, bias=False)
        self.batch_norm = nn.BatchNorm2d(8)
        self.hidden = nn.Linear(8, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        x = self.slope(self.group_norm(self.stem(x)))
        y = self.layer_norm(self.depthwise(x).permute(0, 2, 3, 1))
        x = x + (self.scale * F.gelu(self.expand(y))).permute(0, 3, 1, 2)
        y = F.silu(self.instance_norm(self.up(F.silu(self.down(x)))))
        x = F.silu(self.batch_norm(self.join(torch.cat([x, y], 1))))
        return self.head(F.silu(self.hidden(x.mean((2, 3)))))


@functools.cache
def varied():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Varied().double()
    example = torch.zeros(1, 1, 6, 6, **dtype64)
    return perturbed(em.equivariantize(model, "D4", example, generator=torch.Generator().manual_seed(0)))


D4 = em.group("D4")
OPTIMIZERS = {
    "sgd": (SGD, 0.02, {"momentum": 0.9, "nesterov": True}),
    "adam": (Adam, 1e-3, {"amsgrad": True}),
    "adamw": (AdamW, 1e-3, {}),
}


def make_optimizer(kind, network, weight_decay):
    cls, lr, options = OPTIMIZERS[kind]
    return cls(em.parameter_groups(network, lr=lr, weight_decay=weight_decay, optimizer=cls), **options)


def closed_batch(H):
    """Every sample with its whole orbit under H, and the same label along it."""
    x, y = torch.randn(3, 1, 6, 6, **dtype64), torch.tensor([0, 1, 2])
    return torch.cat([em.layers.transform(x, h, D4, "trivial") for h in H.indices]), y.repeat(H.order)


def step(network, optimizer, x, y):
    network.train()
    optimizer.zero_grad()
    F.cross_entropy(network(x), y).backward()
    optimizer.step()


def test_it_holds_every_kind_of_tied_parameter():
    orbits = parameter_orbits(varied())
    tied = {name.partition("_tied")[0] for name in orbits if name.endswith("_tied.table")}
    norms = {f"{norm}_norm.{value}" for norm in ("group", "layer", "instance") for value in ("weight", "bias")}
    assert tied == {"slope.weight", "scale", *norms}
    free = {name for name, _ in varied().named_parameters()} - set(orbits)
    assert free == {"head.weight", "head.bias"}  # from vectors to vectors, which nothing moves


@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize("first_site", [0, 3], ids=["all sites", "tail"])
@pytest.mark.parametrize(("H", "K"), [("D4", "C4"), ("C4", "C1"), ("D1@45", "C1")])
def test_parent_and_relaxed_child_stay_equal_step_after_step(H, K, first_site, kind):
    x, y = closed_batch(D4.subgroup(H))
    parent = perturbed(em.relax(varied(), H), 2)
    optimizer = make_optimizer(kind, parent, 0.05)
    for _ in range(2):
        step(parent, optimizer, x, y)
    child = em.relax(parent, dict.fromkeys(list(em.sites(parent))[first_site:], K))
    carried = em.carry_optimizer(optimizer, source=parent, target=child)
    before = copy.deepcopy(parent)
    for _ in range(5):
        step(parent, optimizer, x, y)
        step(child, carried, x, y)
    for training in (True, False):
        outputs = [copy.deepcopy(network).train(training)(x).detach() for network in (parent, child, before)]
        assert (outputs[0] - outputs[1]).abs().max() < 1e-11
        assert (outputs[0] - outputs[2]).abs().max() > 1e-4  # something was learned


def test_without_carrying_the_state_they_part():
    x, y = closed_batch(D4.whole)
    parent = copy.deepcopy(varied())
    optimizer = make_optimizer("adam", parent, 0.0)
    for _ in range(2):
        step(parent, optimizer, x, y)
    child = em.relax(parent, "C1")
    fresh = make_optimizer("adam", child, 0.0)
    for _ in range(3):
        step(parent, optimizer, x, y)
        step(child, fresh, x, y)
    assert (parent.eval()(x) - child.eval()(x)).abs().max() > 1e-4


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_each_parameter_has_the_scale_of_its_orbits_and_a_carried_optimizer_the_same(kind):
    cls, lr, _ = OPTIMIZERS[kind]
    names = list(em.sites(varied()))
    child = em.relax(varied(), {site: "C4" if place < 3 else "C2" for place, site in enumerate(names)})
    order = {name: module.constraint.order for name, module in child.named_modules() if isinstance(module, Constrained)}
    optimizers = [
        make_optimizer(kind, child, 0.01),
        em.carry_optimizer(make_optimizer(kind, varied(), 0.01), source=varied(), target=child),
    ]
    paths = {parameter: name for name, parameter in child.named_parameters()}
    for optimizer in optimizers:
        seen = set()
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                name = paths[parameter]
                owner = name.rpartition(".")[0].removesuffix(".space")
                # The bias of a map to trivial features has a single value for all of the group.
                size = 1 if name == "hidden.space.bias" else order.get(owner, 1)
                seen.add(name)
                if cls is SGD:
                    assert group["lr"] == pytest.approx(lr / size), name
                else:
                    assert group["lr"] == lr and group["eps"] == pytest.approx(1e-8 * size), name
                decay = 0.01 if cls is AdamW else 0.01 * size
                assert group["weight_decay"] == pytest.approx(decay), name
        assert seen == set(paths.values())


def test_frozen_parameters_stay_frozen_through_every_morphism():
    network = copy.deepcopy(varied())
    for name in ("stem", "group_norm", "scale_tied", "head"):
        network.get_submodule(name).requires_grad_(False)
    frozen = {name for name, parameter in network.named_parameters() if not parameter.requires_grad}
    for moved in (em.relax(network, "C4"), em.constrain(network, "C2"), copy.deepcopy(network)):
        assert {name for name, parameter in moved.named_parameters() if not parameter.requires_grad} == frozen
        listed = {p for group in em.parameter_groups(moved, lr=0.1) for p in group["params"]}
        assert len(listed) == len(list(moved.parameters())) - len(frozen)
