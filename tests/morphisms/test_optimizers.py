"""Training goes on after a relaxation as if nothing had happened, and scales treat every constraint alike."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch.optim import SGD, Adam, AdamW, RMSprop

import equimorph as em
from equimorph.errors import ConfigurationError, MorphismError

D4 = em.group("D4")
OPTIMIZERS = {
    "sgd": (SGD, 0.02, {}),
    "momentum": (SGD, 0.02, {"momentum": 0.9}),
    "nesterov": (SGD, 0.02, {"momentum": 0.9, "nesterov": True}),
    "adam": (Adam, 1e-3, {}),
    "amsgrad": (Adam, 1e-3, {"amsgrad": True}),
    "adamw": (AdamW, 1e-3, {}),
}


def make_network(constraints):
    network = em.models.PaperNetwork(
        group=D4, constraints=constraints, image_size=8, in_channels=1, num_classes=3, fields=2, depth=3, kernel_size=3
    )
    return network.double()


def make_optimizer(name, network, weight_decay):
    kind, lr, options = OPTIMIZERS[name]
    return kind(em.parameter_groups(network, lr=lr, weight_decay=weight_decay, optimizer=kind), **options)


def closed_batch(H):
    """Every sample with its whole orbit under H, and the same label along it."""
    x, y = torch.randn(4, 1, 8, 8, dtype=torch.float64), torch.tensor([0, 1, 2, 1])
    return torch.cat([em.layers.transform(x, h, D4, "trivial") for h in H.indices]), y.repeat(H.order)


def step(network, optimizer, x, y):
    network.train()
    optimizer.zero_grad()
    F.cross_entropy(network(x), y).backward()
    optimizer.step()


@torch.no_grad()
def gap(one, other, x):
    """The largest difference of the outputs, in training and in evaluation mode."""
    gaps = []
    for training in (True, False):
        pair = (copy.deepcopy(one).train(training), copy.deepcopy(other).train(training))
        gaps.append(float((pair[0](x) - pair[1](x)).abs().max()))
    return max(gaps)


@pytest.mark.parametrize("weight_decay", [0.0, 0.05])
@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("first_site", [0, 2], ids=["all sites", "tail"])
@pytest.mark.parametrize(("H", "K"), [("D4", "C4"), ("D4", "C1"), ("C4", "C1")])
def test_parent_and_relaxed_child_stay_equal_step_after_step(H, K, first_site, name, weight_decay):
    x, y = closed_batch(D4.subgroup(H))
    parent = make_network(H)
    optimizer = make_optimizer(name, parent, weight_decay)
    for _ in range(3):
        step(parent, optimizer, x, y)
    child = em.relax(parent, dict.fromkeys(list(em.sites(parent))[first_site:], K))
    carried = em.carry_optimizer(optimizer, source=parent, target=child)
    for _ in range(10):
        step(parent, optimizer, x, y)
        step(child, carried, x, y)
    assert gap(parent, child, x) < 1e-12


@pytest.mark.parametrize("name", ["momentum", "adam"])
def test_without_carrying_the_state_they_part(name):
    x, y = closed_batch(D4.whole)
    parent = make_network("D4")
    optimizer = make_optimizer(name, parent, 0.0)
    for _ in range(3):
        step(parent, optimizer, x, y)
    child = em.relax(parent, "C1")
    fresh = make_optimizer(name, child, 0.0)
    for _ in range(10):
        step(parent, optimizer, x, y)
        step(child, fresh, x, y)
    assert gap(parent, child, x) > 1e-4


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_carrying_over_two_relaxations_is_carrying_over_one(name):
    x, y = closed_batch(D4.whole)
    parent = make_network("D4")
    optimizer = make_optimizer(name, parent, 0.01)
    for _ in range(2):
        step(parent, optimizer, x, y)
    middle, end = em.relax(parent, "C4"), em.relax(parent, "C1")
    via = em.carry_optimizer(
        em.carry_optimizer(optimizer, source=parent, target=middle), source=middle, target=em.relax(middle, "C1")
    )
    direct = em.carry_optimizer(optimizer, source=parent, target=end)
    for one, other in zip(via.param_groups, direct.param_groups, strict=True):
        assert {k: v for k, v in one.items() if k != "params"} == {k: v for k, v in other.items() if k != "params"}
        for p, q in zip(one["params"], other["params"], strict=True):
            assert torch.equal(p, q)
            assert via.state[p].keys() == direct.state[q].keys()
            for key, value in via.state[p].items():
                assert value is None or torch.equal(torch.as_tensor(value), torch.as_tensor(direct.state[q][key]))


def test_parameter_groups_of_the_child_are_what_the_carried_optimizer_has():
    parent = make_network("D4")
    for name in OPTIMIZERS:
        child = em.relax(parent, {"block3.conv": "C4", "head.linear": "C1"})
        carried = em.carry_optimizer(make_optimizer(name, parent, 0.01), source=parent, target=child)
        fresh = make_optimizer(name, child, 0.01)
        scales = [
            {
                parameter: (group["lr"], group["weight_decay"], group.get("eps", 0.0))
                for group in optimizer.param_groups
                for parameter in group["params"]
            }
            for optimizer in (carried, fresh)
        ]
        assert scales[0].keys() == scales[1].keys() == set(child.parameters())
        for parameter, numbers in scales[0].items():
            assert numbers == pytest.approx(scales[1][parameter], rel=1e-15)


def test_a_step_moves_dense_kernels_alike_whatever_the_constraint():
    """On a batch closed under G a free network at a G-equivariant point moves as the constrained one does."""
    x, y = closed_batch(D4.whole)
    tied = make_network("D4")
    free = em.relax(tied, "C1")
    step(tied, make_optimizer("sgd", tied, 0.1), x, y)
    step(free, make_optimizer("sgd", free, 0.1), x, y)
    for name in em.sites(tied):
        one, other = tied.get_submodule(name).dense_weight(), free.get_submodule(name).dense_weight()
        assert (one - other).abs().max() < 1e-13


def test_a_changed_learning_rate_is_carried_with_its_initial_value():
    conv = em.layers.Conv2d(1, 2, 3, group=D4)
    optimizer = SGD(em.parameter_groups(conv, lr=0.8), momentum=0.9)
    for group in optimizer.param_groups:
        group["initial_lr"] = group["lr"]
        group["lr"] *= 0.25
    child = em.relax(conv, "C4")
    carried = em.carry_optimizer(optimizer, source=conv, target=child)
    assert [(group["lr"], group["initial_lr"]) for group in carried.param_groups] == [(0.05, 0.2)]


def test_the_optimizer_that_is_carried_is_left_as_it_was():
    x, y = closed_batch(D4.whole)
    parent = make_network("D4")
    optimizer = make_optimizer("adam", parent, 0.01)
    step(parent, optimizer, x, y)
    before = copy.deepcopy(optimizer.state_dict())
    child = em.relax(parent, "C4")
    step(child, em.carry_optimizer(optimizer, source=parent, target=child), x, y)
    after = optimizer.state_dict()
    assert before["param_groups"] == after["param_groups"]
    for key, state in before["state"].items():
        assert all(torch.equal(value, after["state"][key][name]) for name, value in state.items())


def test_groups_hold_every_trainable_parameter_once():
    network = make_network("C4")
    network.head.linear.space.weight.requires_grad_(False)
    listed = [p for group in em.parameter_groups(network, lr=0.1) for p in group["params"]]
    wanted = [p for p in network.parameters() if p.requires_grad]
    assert len(listed) == len(wanted) and set(listed) == set(wanted)


def test_what_cannot_be_carried_is_refused():
    conv = em.layers.Conv2d(1, 1, 3, group=D4, subgroup="C4")
    other = em.layers.Conv2d(1, 1, 3, group=D4, subgroup="C4")
    sgd = SGD(em.parameter_groups(conv, lr=0.1))
    with pytest.raises(MorphismError, match="RMSprop"):
        em.carry_optimizer(RMSprop(conv.parameters()), source=conv, target=em.relax(conv, "C2"))
    with pytest.raises(MorphismError, match="no relaxation"):
        em.carry_optimizer(sgd, source=conv, target=em.constrain(conv, "D4"))
    with pytest.raises(MorphismError, match="pass the network it was made for"):
        em.carry_optimizer(sgd, source=other, target=em.relax(other, "C2"))
    with pytest.raises(ConfigurationError, match="RMSprop"):
        em.parameter_groups(conv, lr=0.1, optimizer=RMSprop)
