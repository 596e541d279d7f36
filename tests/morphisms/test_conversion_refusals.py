"""What `equivariantize` refuses, leaves free, notes and leaves alone, and what its messages tell."""

import copy
import re
import warnings

import pytest
import reference
import torch
import torch.nn.functional as F
from own_forward import Forward, hooks_of
from torch import nn
from torch.nn.utils import parametrizations

import equimorph as em
from equimorph.errors import ConfigurationError, EquivarianceWarning, GroupError, MorphismError, ShapeError

IMAGE = torch.randn(2, 3, 9, 9, dtype=torch.float64)


def convert(model, group="D4", example=IMAGE, **options):
    generator = torch.Generator().manual_seed(0)
    return em.equivariantize(model.double(), group, example.double(), generator=generator, **options)


def chain(*middle, width=16, out=2):
    """A small classifier with some layers in the middle, of 16 channels."""
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, out)]
    return nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), *middle, *head)


def message_of(model, group="D4", example=IMAGE, error=MorphismError, **options):
    with pytest.raises(error) as raised:
        convert(model, group, example, **options)
    return str(raised.value)


def errors_of(network, x=IMAGE, group="D4"):
    whole = em.group(group).whole
    return em.testing.equivariance_errors(network.eval(), x, source="trivial", target="trivial", constraint=whole)


def own(forward, **parts):
    return Forward(forward, **parts)


def shuffled(self, x):
    batch, channels, *sides = x.shape
    return self.conv(x.view(batch, 4, channels // 4, *sides).transpose(1, 2).reshape(x.shape))


def attention(self, x):
    tokens = x.flatten(2).transpose(1, 2)
    mixed = (tokens @ tokens.transpose(1, 2)).softmax(-1) @ tokens
    return self.conv(mixed.transpose(1, 2).view(x.shape))


REFUSED = {
    "channel shuffle": (
        lambda: own(shuffled, conv=nn.Conv2d(16, 16, 3, padding=1)),
        "2.conv",
        "shuffle",
        "leave the module free",
    ),
    "attention by tokens": (
        lambda: own(attention, conv=nn.Conv2d(16, 16, 1)),
        "2.conv",
        "is not known after",
        "write that part another way",
    ),
    "a weight of its own": (
        lambda: own(lambda self, x: F.conv2d(x, self.kernel), kernel=nn.Parameter(torch.randn(16, 16, 1, 1))),
        "2",
        "conv2d with a weight of its own",
        "use a layer of torch.nn",
    ),
    "spectral norm": (
        lambda: parametrizations.spectral_norm(nn.Conv2d(16, 16, 3, padding=1)),
        "2",
        "conv2d with a weight of its own",
        "remove the parametrization",
    ),
    "weight norm": (
        lambda: parametrizations.weight_norm(nn.Conv2d(16, 16, 3, padding=1)),
        "2",
        "conv2d with a weight of its own",
        "remove the parametrization",
    ),
    "positional embedding": (
        lambda: own(lambda self, x: x + self.places, places=nn.Parameter(torch.randn(1, 16, 9, 9))),
        "2",
        '"2.places" has values of its own by position',
        "take a parameter per channel alone",
    ),
    "a kernel of unequal sides": (
        lambda: nn.Conv2d(16, 16, (1, 3), padding=(0, 1)),
        "2",
        "D4",
        "a group that keeps the axes, such as D2",
    ),
    "padding same of an even kernel": (
        lambda: nn.Conv2d(16, 16, 2, padding="same"),
        "2",
        'padding "same" adds more at one end',
        "take an odd kernel",
    ),
    "a batch norm without statistics": (
        lambda: nn.BatchNorm2d(16, track_running_stats=False),
        "2",
        "no running statistics",
        "track_running_stats=True",
    ),
    "an instance norm with statistics": (
        lambda: nn.InstanceNorm2d(16, track_running_stats=True),
        "2",
        "running statistics per channel",
        "track_running_stats=False",
    ),
    "a layer norm over positions": (
        lambda: nn.LayerNorm((16, 9, 9)),
        "2",
        "it normalises over (16, 9, 9), positions too",
        "normalise over the channels alone",
    ),
    "a layer that is not reached": (
        lambda: own(lambda self, x: x, spare=nn.Conv2d(16, 16, 3)),
        "2.spare",
        "does not reach it",
        "remove it, or pass an example that does",
    ),
}


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_converted_is_named_with_path_reason_and_remedy(case):
    make, path, reason, remedy = REFUSED[case]
    message = message_of(chain(make()))
    assert message.startswith("equivariantize: ") and f'"{path}": ' in message
    assert reason in message and remedy in message


@pytest.mark.parametrize("case", ["channel shuffle", "positional embedding", "a layer norm over positions"])
def test_a_refusal_says_what_to_leave_free_and_that_works(case):
    model = chain(REFUSED[case][0]())
    free = re.search(r"free=\[(.*)\]", message_of(model)).group(1)
    paths = [path.strip('" ') for path in free.split(",")]
    with pytest.warns(EquivarianceWarning):
        network = convert(model, free=paths)
    assert [note.path for note in network.conversion.free] == paths
    assert network(IMAGE).shape == (2, 2)


def test_a_free_island_is_named_in_the_warning_and_in_the_report():
    model = chain(nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1))
    with pytest.warns(EquivarianceWarning, match='"2": left as it is'):
        network = convert(model, free=["2"])
    assert 'left free: "2"' in str(network.conversion)
    assert network.conversion.error > 1e-3 and not network.conversion.exact
    assert all(found.path != "2" for found in network.conversion.breaks)


def test_a_free_island_keeps_its_values_and_is_no_site():
    model = chain(nn.Conv2d(16, 16, 3, padding=1))
    with pytest.warns(EquivarianceWarning):
        network = convert(model, free=["2"])
    assert type(network[2]) is nn.Conv2d and torch.equal(network[2].weight, model[2].weight)
    assert "2" not in em.sites(network)


def test_a_kernel_of_unequal_sides_is_accepted_under_a_group_that_keeps_the_axes():
    network = convert(chain(nn.Conv2d(16, 16, (1, 3), padding=(0, 1))), "D2")
    assert network.conversion.exact and max(errors_of(network, group="D2").values()) < 1e-11


def test_a_width_that_the_forward_writes_out_is_refused_with_what_torch_says():
    model = chain(own(lambda self, x: x.view(2, 16, 81).view(2, 16, 9, 9)))
    assert convert(model).conversion.exact
    message = message_of(model, width="fields")
    assert "own code does not run at the new widths" in message and 'in "2"' in message
    assert "\n" not in message


def test_all_problems_are_told_together():
    message = message_of(chain(nn.LayerNorm((16, 9, 9)), nn.Conv2d(16, 16, (3, 1), padding=(1, 0))))
    assert "2 parts of Sequential" in message and '"2": ' in message and '"3": ' in message


def test_of_many_problems_eight_are_told_and_how_many_more():
    message = message_of(chain(*[nn.LayerNorm((16, 9, 9)) for _ in range(11)]))
    assert message.count("positions too") == 8
    assert "11 parts of Sequential" in message and "and 3 more like these" in message
    assert message.count('"12"') == 1  # in what to leave free, where all are


def test_exactly_eight_problems_are_all_told():
    message = message_of(chain(*[nn.LayerNorm((16, 9, 9)) for _ in range(8)]))
    assert message.count("positions too") == 8 and "more like these" not in message


def test_vector_valued_outputs_are_refused():
    assert "turn by themselves" in message_of(chain(), output="vector", error=ConfigurationError)


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"output": "scalar"}, 'output is "scalar"'),
        ({"width": "wide"}, 'width is "wide"; it is one of cost, parameters, fields, or a number'),
        ({"width": 0}, "must be positive"),
        ({"width": -1.0}, "must be positive"),
        ({"weights": "old"}, "old"),
        ({"weights": "copy", "width": "cost"}, "fields"),
        ({"weights": "project", "width": "fields"}, "cost"),
    ],
    ids=str,
)
def test_an_option_outside_its_range_is_refused(options, part):
    message = message_of(chain(), error=ConfigurationError, **options)
    assert message.startswith("equivariantize: ") and part in message


@pytest.mark.parametrize("path", ["conv9", ""])
def test_a_free_path_that_does_not_exist_is_told_with_those_that_do(path):
    message = message_of(chain(), free=[path])
    assert f'no module "{path}"' in message and '"0", "1"' in message


def test_an_example_of_another_dimension_is_refused():
    message = message_of(chain(), em.group("D4"), torch.randn(2, 3, 9), GroupError)
    assert "D4 acts in dimension 2" in message and "(2, 3, 9)" in message


def test_unequal_sides_are_refused_by_a_group_that_exchanges_axes():
    message = message_of(chain(), example=torch.randn(2, 3, 9, 11), error=ShapeError)
    assert "(9, 11)" in message and "must be equal" in message


def test_unequal_sides_are_accepted_by_a_group_that_keeps_the_axes():
    x = torch.randn(2, 3, 9, 11, dtype=torch.float64)
    network = convert(chain(), "D2", x)
    assert network.conversion.exact and max(errors_of(network, x, "D2").values()) < 1e-11


def test_a_network_that_has_sites_is_refused():
    assert "has sites already" in message_of(convert(chain()))


def test_an_unknown_group_is_refused():
    with pytest.raises(GroupError, match="D77"):
        convert(chain(), "D77")


class ImageBeside(nn.Module):
    """The image concatenated with features, as in U-Nets and in DenseNets without a stem."""

    def __init__(self, norm=False):
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, padding=1)
        self.norm = nn.BatchNorm2d(19) if norm else nn.Identity()
        self.second = nn.Conv2d(19, 16, 3, padding=1)
        self.head = nn.Linear(16, 2)

    def forward(self, x):
        both = self.norm(torch.cat([x, self.first(x).relu()], 1))
        return self.head(self.second(both).relu().mean((2, 3)))


@pytest.mark.parametrize("norm", [False, True], ids=["bare", "normalised"])
def test_an_image_beside_features_is_converted_exactly_and_noted(norm):
    network = convert(ImageBeside(norm))
    assert network.conversion.exact and max(errors_of(network).values()) < 1e-11
    assert any(note.path == "second" and "a convolution for each" in note.text for note in network.conversion.notes)
    assert any(note.path == "norm" and "one for each" in note.text for note in network.conversion.notes) is norm


@pytest.mark.parametrize(("constraint", "order"), [("D2", 4), ("C4", 4), ("C1", 1)])
def test_with_an_image_beside_features_relaxing_keeps_the_function_to_the_bit(constraint, order):
    network = convert(ImageBeside(norm=True)).eval()
    relaxed = em.relax(network, constraint).eval()
    assert torch.equal(relaxed(IMAGE), network(IMAGE))
    assert {found.order for found in em.sites(relaxed).values()} == {order}


def test_with_an_image_beside_features_each_part_is_a_site():
    assert [path for path in em.sites(convert(ImageBeside())) if path.startswith("second")] == [
        "second.parts.0",
        "second.parts.1",
    ]


def test_with_an_image_beside_features_the_plain_form_computes_the_same():
    network = convert(ImageBeside(norm=True)).eval()
    ordinary = em.plain(network, IMAGE)
    assert reference.relative_error(ordinary(IMAGE).detach(), network(IMAGE).detach()) < 1e-6


@torch.no_grad()
def mean_over_group(model, x):
    """The mean of an invariant output over all turns of the input."""
    group = em.group("D4")
    moved = [model.eval()(reference.act(x, element, group, "trivial")) for element in range(group.order)]
    return sum(moved) / len(moved)


@pytest.mark.parametrize("norm", [False, True], ids=["bare", "normalised"])
def test_with_an_image_beside_features_a_copy_is_the_mean_over_the_group(norm):
    model = ImageBeside(norm)
    network = convert(model, width="fields", weights="copy").eval()
    assert reference.relative_error(network(IMAGE).detach(), mean_over_group(model, IMAGE)) < 1e-10


class ImageBesideInDecoder(nn.Module):
    """The same in front of a transposed convolution, with a slope for all channels or for each."""

    def __init__(self, slopes):
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, padding=1)
        self.slope = nn.PReLU(slopes)
        self.up = nn.ConvTranspose2d(19, 16, 2, 2)
        self.head = nn.Conv2d(16, 2, 1)

    def forward(self, x):
        return self.head(self.up(self.slope(torch.cat([self.first(x), x], 1))))


@pytest.mark.parametrize("slopes", [1, 19])
def test_an_image_beside_features_may_be_made_larger(slopes):
    network = convert(ImageBesideInDecoder(slopes))
    assert network.conversion.exact and max(errors_of(network).values()) < 1e-11
    ordinary = em.plain(network.eval(), IMAGE)
    assert reference.relative_error(ordinary(IMAGE).detach(), network(IMAGE).detach()) < 1e-6


@pytest.mark.parametrize(
    "free",
    [
        lambda width: nn.Conv2d(width, width, (1, 3), padding=(0, 1), groups=width),
        lambda width: nn.ConvTranspose2d(width, width, 3, stride=2, padding=1, output_padding=1),
    ],
    ids=["depthwise", "transposed"],
)
def test_a_free_layer_gets_the_width_of_its_neighbours(free):
    model = nn.Sequential(nn.Conv2d(3, 12, 3), nn.ReLU(), free(12), nn.Conv2d(12, 12, 3), nn.Conv2d(12, 2, 1))
    with pytest.warns(EquivarianceWarning):
        network = convert(model, free=["2"])
    assert type(network[2]) is type(model[2]) and network[2].in_channels == network[2].out_channels == 16
    assert network(IMAGE).shape == model(IMAGE).shape


def test_code_that_looks_into_a_layer_that_was_exchanged_is_named():
    looks = own(lambda self, x: self.conv(x.to(self.conv.weight.dtype)), conv=nn.Conv2d(16, 16, 3, padding=1))
    message = message_of(chain(looks))
    assert "has no attribute 'weight'" in message and 'in "2"' in message


def test_a_head_that_is_returned_in_training_alone_keeps_its_width():
    def forward(self, x):
        early = self.head(x)
        late = self.conv(x)
        return torch.cat([late, early]) if self.training else late

    heads = {"head": nn.Conv2d(16, 2, 1), "conv": nn.Conv2d(16, 2, 3, padding=1)}
    network = convert(nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), own(forward, **heads)))
    assert network.conversion.exact
    assert network.train()(IMAGE).shape == (4, 2, 7, 7)


def test_an_output_that_is_a_flattened_map_is_named():
    model = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 2, 3), nn.Flatten())
    with pytest.warns(EquivarianceWarning, match="flattened"):
        report = convert(model).conversion
    assert [found.path for found in report.breaks] == ["the output"] and not report.exact


def test_a_refusal_names_the_average_over_the_group_too():
    assert "em.average_over_group" in message_of(chain(own(attention, conv=nn.Conv2d(16, 16, 1))))


def test_a_module_that_is_used_twice_stays_one():
    shared = nn.Conv2d(16, 16, 3, padding=1)
    network = convert(chain(shared, nn.ReLU(), shared))
    assert network[2] is network[4] and network.conversion.exact
    assert list(em.sites(network)) == ["0", "2", "7"]


def test_a_module_that_is_used_for_an_image_and_for_features_is_refused():
    shared = nn.Conv2d(3, 3, 3, padding=1)
    model = own(
        lambda self, x: self.head(self.shared(self.grow(self.shared(x)))),
        shared=shared,
        grow=nn.Conv2d(3, 3, 3, padding=1),
        head=nn.Conv2d(3, 2, 1),
    )
    message = message_of(model)
    assert '"shared": it is used at places with different features; give each place its own layer' in message


def test_a_parameter_that_two_layers_share_is_noted():
    model = chain(nn.Conv2d(16, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1))
    model[3].weight = model[2].weight
    (note,) = convert(model).conversion.notes
    assert note.path == "3" and 'shares a parameter with "2"' in note.text


@pytest.mark.parametrize(("weights", "width"), [("copy", "fields"), ("project", "cost")])
def test_frozen_parameters_stay_frozen(weights, width):
    model = chain(nn.BatchNorm2d(16), nn.Conv2d(16, 16, 3, padding=1))
    for module in (model[0], model[2]):
        module.requires_grad_(False)
    network = convert(model, weights=weights, width=width)
    assert not any(parameter.requires_grad for path in (0, 2) for parameter in network[path].parameters())
    assert all(parameter.requires_grad for parameter in network[3].parameters())


def test_fresh_weights_are_trained_even_where_the_old_ones_were_frozen():
    model = chain(nn.Conv2d(16, 16, 3, padding=1))
    model[2].requires_grad_(False)
    assert all(parameter.requires_grad for parameter in convert(model)[2].parameters())


def test_the_model_is_unchanged_and_without_hooks():
    model = chain(nn.BatchNorm2d(16), nn.Conv2d(16, 16, 3, padding=1)).double()
    state, modules = copy.deepcopy(model.state_dict()), list(model.modules())
    network = convert(model)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert all(one is other for one, other in zip(model.modules(), modules, strict=True)) and model.training
    assert not hooks_of(model) and not hooks_of(network)


def test_the_model_is_unchanged_and_without_hooks_when_it_is_refused():
    model = chain(nn.LayerNorm((16, 9, 9))).double()
    state = copy.deepcopy(model.state_dict())
    message_of(model)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert not hooks_of(model) and model.training


def test_the_network_shares_no_parameter_with_the_model():
    model = chain(nn.Conv2d(16, 16, 3, padding=1))
    network = convert(model)
    places = {parameter.data_ptr() for parameter in model.parameters()}
    assert not places & {parameter.data_ptr() for parameter in network.parameters()}


def test_group_norm_whose_groups_divide_fields_is_noted():
    network = convert(chain(nn.GroupNorm(8, 16), nn.ReLU()))
    (note,) = network.conversion.notes
    assert note.path == "2" and note.text.startswith("groups 8 -> 2")
    assert network.conversion.exact and network[2].num_groups == 2


def test_group_norm_whose_groups_are_whole_fields_is_not_noted():
    assert not convert(chain(nn.GroupNorm(2, 16), nn.ReLU())).conversion.notes


def test_channels_that_are_no_whole_number_of_fields_are_noted():
    model = nn.Sequential(nn.Conv2d(3, 12, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 2))
    (note,) = convert(model).conversion.notes
    assert note.path == "0" and "12 channels" in note.text and "2 fields, 16 channels" in note.text


def test_grouped_weights_that_would_be_divided_are_refused_in_a_copy():
    model = chain(nn.Conv2d(16, 16, 3, groups=8))
    assert "groups 8 -> 2" in str(convert(model).conversion)
    assert 'take weights="fresh"' in message_of(model, weights="project")


@pytest.mark.parametrize("target", [300, 1500])
def test_a_narrowed_network_is_an_ordinary_one_near_a_number_of_parameters(target):
    network = convert(chain(nn.BatchNorm2d(16), nn.Conv2d(16, 16, 3, padding=1)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ordinary = network.narrowed(target, torch.Generator().manual_seed(0))
    count = sum(parameter.numel() for parameter in ordinary.parameters())
    assert abs(count - target) < 0.15 * target
    assert {found.order for found in em.sites(ordinary).values()} == {1}
    assert ordinary(IMAGE).shape == (2, 2)


def test_a_network_with_a_free_island_is_narrowed_without_warnings():
    with pytest.warns(EquivarianceWarning):
        network = convert(chain(nn.Conv2d(16, 16, 3, padding=1)), free=["2"])
    ordinary = network.narrowed(600, torch.Generator().manual_seed(0))
    assert ordinary(IMAGE).shape == (2, 2)


def test_the_report_is_a_table_of_all_layers():
    report = convert(chain(nn.BatchNorm2d(16))).conversion
    assert [layer.path for layer in report.layers] == ["0", "2", "5"]
    assert str(report).splitlines()[0].startswith("D4, width cost, weights fresh, equivariance error")
    assert len(str(report).splitlines()) == 4
