"""What else torch does to modules: other devices, shared memory, checkpoints, tensors without memory, odd layouts."""

import copy
import gc

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.checkpoint import checkpoint

import equimorph as em
from equimorph.layers import Conv2d, Linear
from equimorph.spaces.dense import KernelFormat, dense_from_rows, rows_from_dense
from equimorph.spaces.tables import SharedTables

KINDS = {
    "tied": lambda layer: layer,
    "mixed": lambda layer: em.mix(layer, ["C1", "D1", "D4"]),
    "tied mixed": lambda layer: em.mix(layer, ["C1", "D1", "D4"], tied=True),
    "residual": em.add_residual,
}
every_kind = pytest.mark.parametrize("kind", KINDS)


def convolution(kind="tied", **options):
    return KINDS[kind](Conv2d(2, 3, 3, group="D4", **options))


def devices(layer):
    return {tensor.device.type for tensor in (*layer.parameters(), *layer.buffers())}


@every_kind
def test_layers_move_to_the_meta_device_with_all_their_tables(kind):
    layer = convolution(kind)
    copied = copy.deepcopy(layer)
    shape = layer.dense_weight().shape
    assert layer.to("meta") is layer and devices(layer) == {"meta"}
    assert layer.dense_weight().shape == shape and layer.dense_weight().device.type == "meta"
    assert layer(torch.empty(1, 16, 5, 5, device="meta")).shape == (1, 24, 3, 3)
    assert devices(copied) == {"cpu"} and copied(torch.randn(1, 16, 5, 5)).shape == (1, 24, 3, 3)


@every_kind
def test_a_copy_that_moves_leaves_the_first_where_it_is(kind):
    layer = convolution(kind)
    copied = copy.deepcopy(layer).to("meta")
    assert devices(copied) == {"meta"} and devices(layer) == {"cpu"}


def test_layers_are_made_under_any_default_device():
    with torch.device("meta"):
        layer = Conv2d(2, 3, 5, group="D4", subgroup="D1@45")
    assert {parameter.device.type for parameter in layer.parameters()} == {"meta"}


def test_tables_of_a_layer_that_moves_are_all_freed():
    part = convolution().space.dense_expansion.to("meta")
    assert isinstance(part.rows, SharedTables) and part.rows.index.is_meta and part.gather.is_meta


@pytest.mark.parametrize(
    "format", [KernelFormat(2, 2, 3, 2, ()), KernelFormat(3, 2, 2, 2, (2, 3)), KernelFormat(1, 2, 1, 2, (3, 1))]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_kernels_of_any_layout_are_read(format, dtype):
    weight = torch.randn(format.weight_shape).to(dtype)
    for other in (
        weight.mT.contiguous().mT,
        weight.transpose(0, 1).contiguous().transpose(0, 1),
        torch.stack([weight, weight], -1)[..., 0],
        weight[:1].expand(weight.shape),
        weight.narrow(-1, 0, 1).expand(weight.shape),
        torch.ones((), dtype=dtype).expand(weight.shape),
    ):
        assert torch.equal(dense_from_rows(rows_from_dense(other, format), format), other)


@pytest.mark.parametrize("layer", [lambda: Linear(3, 2, group="D4"), convolution], ids=["linear", "convolution"])
def test_gradients_that_are_one_number_for_all_entries_are_summed(layer):
    layer = layer()
    layer.dense_weight().sum().backward()  # a gradient of strides 0
    assert (layer.space.weight.grad == 8).all()


def test_tables_in_shared_memory_stay_there():
    layer = convolution("mixed").share_memory()
    assert all(parameter.is_shared() for parameter in layer.parameters())


def test_moving_to_where_they_are_leaves_tables_in_place():
    layer = convolution("mixed")
    before = [table.data_ptr() for table in layer.space.weights]
    layer.to("cpu")
    assert [table.data_ptr() for table in layer.space.weights] == before


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
@pytest.mark.parametrize("names", [["C1"], ["C1", "D4"], ["C1", "D1", "D4"]], ids=len)
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, None])
def test_mixtures_evaluate_as_one_graph_without_gradients(names, mode):
    torch._dynamo.reset()
    layer, x = em.mix(convolution(), names).eval(), torch.randn(1, 16, 5, 5)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    if mode is None:
        layer.requires_grad_(False)
        assert torch.allclose(compiled(x), layer(x), atol=1e-5)
        return
    with mode():
        assert torch.allclose(compiled(x), layer(x), atol=1e-5)


@every_kind
def test_layers_that_were_made_without_memory_get_tables_with_it(kind):
    layer = convolution(kind).to("meta")
    gc.collect()
    layer.to_empty(device="cpu")
    layer.load_state_dict(convolution(kind).state_dict())
    assert devices(layer) == {"cpu"} and layer(torch.randn(1, 16, 5, 5)).isfinite().all()


def test_sharing_works_with_checkpoints():
    net = torch.nn.Sequential(convolution(), torch.nn.ReLU(), Conv2d(3, 2, 1, group="D4")).double()
    shared, x = copy.deepcopy(net), torch.randn(2, 16, 5, 5, dtype=torch.float64, requires_grad=True)
    net(x).square().sum().backward()
    with em.shared_kernels(shared):
        checkpoint(shared, x, use_reentrant=False).square().sum().backward()
    for one, other in zip(shared.parameters(), net.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad)


@pytest.mark.parametrize("kind", ["tied", "residual"])
def test_tensors_without_memory_pass_in_both_directions(kind):
    layer = convolution(kind)
    with FakeTensorMode(allow_non_fake_inputs=True):
        y = layer(torch.randn(2, 16, 5, 5))
        y.sum().backward()
    assert y.shape == (2, 24, 3, 3)
