"""Index tables: one copy on each device for all layers of a shape, never saved or converted, freed with the last."""

import copy
import gc
import io
import pickle
import weakref

import pytest
import torch
from torch import nn

import equimorph as em
from equimorph.layers import BatchNorm, Conv2d
from equimorph.spaces import tables
from equimorph.spaces.tables import SharedTables

GROUP = "D4"
KINDS = {
    "tied": lambda layer: layer,
    "mixed": lambda layer: em.mix(layer, ["C1", "D1", GROUP]),
    "tied mixed": lambda layer: em.mix(layer, ["C1", "D1", GROUP], tied=True),
    "residual": em.add_residual,
}
every_kind = pytest.mark.parametrize("kind", KINDS)


def convolution(kind="tied", fields=(2, 3), kernel_size=3, subgroup="D1", **options):
    subgroup = GROUP if kind != "tied" else subgroup
    return KINDS[kind](Conv2d(*fields, kernel_size, group=GROUP, subgroup=subgroup, **options))


def tables_of(module):
    """The tables by name."""
    return {
        f"{path}.{name}": table
        for path, part in module.named_modules()
        if isinstance(part, SharedTables)
        for name, table in part.named_buffers(recurse=False)
    }


def memories(module):
    return {name: table.data_ptr() for name, table in tables_of(module).items()}


def mine(key="mine", value=1.0):
    return SharedTables(key, lambda: {"table": torch.tensor([value])})


@every_kind
def test_layers_of_a_shape_share_their_tables(kind):
    one, other = convolution(kind), convolution(kind)
    assert memories(one) and memories(one) == memories(other)


@every_kind
def test_copies_share_tables_and_not_parameters(kind):
    layer = convolution(kind)
    copied = copy.deepcopy(nn.Sequential(layer))[0]
    assert memories(layer) == memories(copied)
    assert not {p.data_ptr() for p in layer.parameters()} & {p.data_ptr() for p in copied.parameters()}
    x = torch.randn(1, 16, 5, 5)
    assert torch.equal(layer(x), copied(x))


def test_layers_of_other_shapes_have_tables_of_their_own():
    layer = convolution()
    for options in ({"subgroup": "D1@0"}, {"kernel_size": 5}, {"source": "trivial"}):
        other = convolution(**options)
        for name, memory in memories(other).items():
            if not name.startswith("space.bias"):
                assert memory not in memories(layer).values()


def test_pieces_of_other_widths_are_others_and_rows_the_same():
    layer, wider_in, wider_out = (convolution(fields=fields) for fields in ((2, 3), (5, 3), (2, 4)))
    found = memories(layer)
    same = {name for name, memory in memories(wider_out).items() if found[name] == memory}
    assert {f"space.dense_expansion.rows.{name}" for name in ("index", "members")} <= same
    assert not {f"space.dense_expansion.{name}" for name in ("gather", "bags", "bag_starts")} & same
    assert memories(wider_in) == found  # fields that come in are columns of a piece, not pieces


def test_the_key_says_what_is_shared():
    first, again, other = mine(value=1.0), mine(value=2.0), mine("yours", 2.0)
    assert first.table is again.table and again.table.item() == 1 and other.table.item() == 2


@every_kind
def test_tables_are_not_in_the_state(kind):
    layer = convolution(kind)
    assert not set(layer.state_dict()) & set(tables_of(layer))
    layer.load_state_dict(convolution(kind).state_dict())
    assert not mine().state_dict()


@every_kind
def test_conversions_of_the_parameters_leave_tables_alone(kind):
    layer = convolution(kind)
    before, dtypes = memories(layer), {name: table.dtype for name, table in tables_of(layer).items()}
    for convert in (nn.Module.double, nn.Module.half, nn.Module.bfloat16, nn.Module.float):
        convert(layer)
        assert memories(layer) == before
        assert {name: table.dtype for name, table in tables_of(layer).items()} == dtypes
        assert {p.dtype for p in layer.parameters()} == {layer.dense_weight().dtype}
    layer.to(torch.float64).to("cpu")
    assert memories(layer) == before


def test_tables_are_freed_with_the_last_module():
    kept = [mine("freed"), mine("freed")]
    kept.append(copy.deepcopy(kept[0]))
    last = weakref.ref(kept[0]._shared)
    while kept:
        assert last() is not None
        kept.pop()
        gc.collect()
    assert last() is None
    assert mine("freed", 5.0).table.item() == 5  # made anew


def test_tables_of_a_layer_are_freed_with_it():
    shape = {"kernel_size": 7, "fields": (1, 1), "subgroup": "D1@45"}  # of no other test
    layer = convolution(**shape)
    found = [weakref.ref(part._shared) for part in layer.space.dense_expansion.modules()]
    del layer
    gc.collect()
    assert len(found) == 2 and all(one() is None for one in found)


def test_tables_on_a_device_that_all_have_left_are_freed():
    layer = mine("moved")
    on_cpu = weakref.ref(layer._shared)
    layer.to("meta")
    gc.collect()
    assert on_cpu() is None and ("moved", torch.device("cpu")) not in tables._SHARED


@every_kind
def test_saved_modules_come_back_the_same(kind):
    layer, x = convolution(kind), torch.randn(1, 16, 5, 5)
    file = io.BytesIO()
    torch.save(layer, file)
    file.seek(0)
    for loaded in (pickle.loads(pickle.dumps(layer)), torch.load(file, weights_only=False)):
        assert torch.equal(loaded(x), layer(x))
        loaded.double()
        assert torch.equal(loaded(x.double()), copy.deepcopy(layer).double()(x.double()))


@every_kind
def test_layers_move_to_the_meta_device(kind):
    layer = convolution(kind)
    shape = layer.dense_weight().shape
    assert layer.to("meta") is layer
    assert {parameter.device.type for parameter in layer.parameters()} == {"meta"}
    assert layer.space.dense_bias().device.type == "meta"
    assert sum(parameter.numel() for parameter in layer.parameters()) and layer.kernel_size == shape[2:]


def test_norms_share_their_tables_too():
    norms = [BatchNorm(fields, group=GROUP, subgroup="D1") for fields in (2, 3)]
    assert memories(norms[0]) == memories(norms[1]) and norms[0].to("meta").expansion.index.is_meta
    assert not norms[1].expansion.index.is_meta
