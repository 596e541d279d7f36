"""Windows that slide over positions: whether they keep the grid, and at which sizes of the input all of them do."""

import pytest
import torch
import torch.nn.functional as F
from own_forward import Forward, hooks_of
from torch import nn

import equimorph as em
from equimorph.inspection.windows import Window, suitable_sizes, windows_of
from equimorph.tracing import record


def window_of(layer, size=28):
    (call,) = record(layer, torch.zeros(1, 4, size, size)).calls
    windows = windows_of(call)
    assert len(set(windows)) == 1
    return windows[0]


def starts(window):
    """Where the windows begin, counted from the first position of the padded axis, one after the other."""
    extent = window.dilation * (window.window - 1) + 1
    return range(0, window.size + 2 * window.padding - extent + 1, window.stride)


@pytest.mark.parametrize("stride", [1, 2, 3, 4])
@pytest.mark.parametrize("dilation", [1, 2])
def test_a_window_keeps_the_grid_just_where_a_mirror_image_has_the_same_windows(stride, dilation):
    for size in range(7, 16):
        for extent in (1, 2, 3):
            for padding in (0, 1):
                window = Window(size, extent, stride, padding, dilation)
                last = size + 2 * padding - dilation * (extent - 1) - 1
                mirrored = [last - start for start in reversed(starts(window))]
                assert window.keeps_grid == (mirrored == list(starts(window)))
                assert window.keeps_grid == (window.rest == 0)


@pytest.mark.parametrize(
    ("layer", "window"),
    [
        (nn.Conv2d(4, 2, 3, stride=2, padding=1), Window(28, 3, 2, 1, 1)),
        (nn.Conv2d(4, 2, 5, dilation=2, padding="same"), Window(28, 5, 1, 4, 2)),
        (nn.Conv2d(4, 2, 5, padding="valid"), Window(28, 5, 1, 0, 1)),
        (nn.MaxPool2d(3, stride=2, padding=1), Window(28, 3, 2, 1, 1)),
        (nn.MaxPool2d(2), Window(28, 2, 2, 0, 1)),
        (nn.AvgPool2d(3, 2), Window(28, 3, 2, 0, 1)),
        (em.layers.Conv2d(4, 2, 3, group="C4", source="trivial", stride=2), Window(28, 3, 2, 0, 1)),
        (Forward(lambda self, x: F.max_pool2d(x, 3, 2, 1)), Window(28, 3, 2, 1, 1)),
        (Forward(lambda self, x: F.max_pool2d(x, 3, stride=2, dilation=2)), Window(28, 3, 2, 0, 2)),
        (Forward(lambda self, x: F.avg_pool2d(x, 2)), Window(28, 2, 2, 0, 1)),
        (Forward(lambda self, x: F.avg_pool2d(x, kernel_size=(2,), stride=(1,))), Window(28, 2, 1, 0, 1)),
    ],
    ids=[
        "convolution",
        "same",
        "valid",
        "max pooling",
        "of its own stride",
        "average pooling",
        "of this library",
        "max_pool2d",
        "max_pool2d by keyword",
        "avg_pool2d",
        "of one number",
    ],
)
def test_the_window_of_a_call_is_read_off(layer, window):
    assert window_of(layer) == window


@pytest.mark.parametrize(
    "layer",
    [nn.ReLU(), nn.BatchNorm2d(4), nn.ConvTranspose2d(4, 2, 3, stride=2), nn.AdaptiveAvgPool2d(2), nn.Upsample(30)],
    ids=repr,
)
def test_what_has_no_window_has_none(layer):
    (call,) = record(layer, torch.zeros(2, 4, 28, 28)).calls
    assert windows_of(call) == ()


def test_each_axis_has_a_window():
    (call,) = record(nn.Conv2d(1, 1, (3, 5), stride=(1, 2), padding=(1, 0)), torch.zeros(1, 1, 8, 9)).calls
    assert windows_of(call) == (Window(8, 3, 1, 1), Window(9, 5, 2, 0))


def resnet_like():
    return nn.Sequential(nn.Conv2d(1, 2, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(2, 2, 3, stride=2, padding=1))


def test_suitable_sizes_are_the_nearest_at_which_all_windows_fit():
    assert suitable_sizes(resnet_like(), torch.zeros(1, 1, 16, 16)) == (17, 13)
    assert suitable_sizes(resnet_like(), torch.zeros(1, 1, 14, 14)) == (13, 17)


@pytest.mark.parametrize("most", [1, 2, 3])
def test_no_more_suitable_sizes_are_looked_for_than_asked(most):
    assert suitable_sizes(resnet_like(), torch.zeros(1, 1, 16, 16), most) == (17, 13, 21)[:most]


def test_functions_count_among_the_windows():
    pooled = Forward(lambda self, x: F.max_pool2d(F.max_pool2d(x, 2), 2))
    assert suitable_sizes(pooled, torch.zeros(1, 1, 18, 18)) == (20, 16)


def test_at_suitable_sizes_all_windows_of_a_network_keep_the_grid():
    network = resnet_like()
    for size in suitable_sizes(network, torch.zeros(1, 1, 16, 16)):
        calls = record(network, torch.zeros(1, 1, size, size)).calls
        assert all(window.keeps_grid for call in calls for window in windows_of(call))


def test_in_three_dimensions_sizes_are_those_of_cubes():
    pooled = nn.Sequential(nn.Conv3d(1, 1, 3, stride=2))
    assert suitable_sizes(pooled, torch.zeros(1, 1, 8, 8, 8)) == (9, 7)


def test_a_network_that_takes_no_other_size_has_no_suitable_ones():
    fixed = Forward(lambda self, x: F.max_pool2d(x, 2).view(1, 49))
    assert suitable_sizes(fixed, torch.zeros(1, 1, 15, 15)) == (14,)
    none = Forward(lambda self, x: F.max_pool2d(x.view(1, 1, 15, 15), 2))
    assert suitable_sizes(none, torch.zeros(1, 1, 15, 15)) == ()


def test_a_network_that_looks_at_values_is_run_on_its_own_device():
    def looks(self, x):
        return F.max_pool2d(x if float(x.sum()) < 1 else -x, 2)

    assert suitable_sizes(Forward(looks), torch.zeros(1, 1, 15, 15)) == (16, 14)


def test_looking_for_sizes_leaves_the_network_alone():
    network = nn.Sequential(nn.BatchNorm2d(1), nn.MaxPool2d(2)).train()
    suitable_sizes(network, torch.zeros(2, 1, 15, 15))
    assert int(network[0].num_batches_tracked) == 0 and network[0].weight.device.type == "cpu"
    assert network.training and not hooks_of(network)
