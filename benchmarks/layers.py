"""How close are our convolutions to an ordinary one of the same dense shape?

Times a forward and a backward pass, input gradient included, of 5x5 convolutions between regular features of D4, as a
ratio to `torch.nn.Conv2d` with the same number of channels. Beside our layers:

- "a convolution per subgroup", kernels made by indexing with torch's own gradient: the way of the paper's released
  code, here in our own words;
- "index, torch's gradient": one kernel, one convolution, made by the plainest indexing there is;
- escnn, where it is installed (not with --channels-last or --autocast).

Before timing, all ways of making a kernel are checked to give the same one.

    python benchmarks/layers.py
    python benchmarks/layers.py --device cuda --autocast bf16 --shapes 16x28x256,32x14x256
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from measuring import chosen, parser, ratio, report, seconds_in_turns, table
from torch import Tensor, nn

import equimorph as em
from equimorph.groups import Subgroup, kernel_orbits
from equimorph.layers import Conv2d
from equimorph.spaces import LogitMixture, dense_from_rows

ORDINARY = "torch.nn.Conv2d"
STATIC = "static D4"
MIXTURE = "mixture of six"
WITH = {"": None, "bf16": torch.bfloat16, "fp16": torch.float16}


class ByIndexing(nn.Module):
    """The kernels of some subgroups by `w[index]`, as it comes; one convolution for each, or one of their sum."""

    def __init__(self, like: Conv2d, members: Sequence[Subgroup], *, one_convolution: bool) -> None:
        super().__init__()
        self.shape, self.one_convolution = like.space.shape, one_convolution
        orbits = [self.shape.orbits(member) for member in members]
        self.tables = nn.ParameterList(torch.randn(one.num_orbits, self.shape.columns) for one in orbits)
        self.logits = nn.Parameter(torch.zeros(len(members)))
        self.num_members = len(members)
        for number, one in enumerate(orbits):
            self.register_buffer(f"index{number}", torch.tensor(one.index), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """The weighted sum."""
        weights = torch.softmax(self.logits, 0)
        rows = [table[self.get_buffer(f"index{number}")] for number, table in enumerate(self.tables)]
        kernels = [self.dense(one) for one in rows]
        if self.one_convolution:
            summed = sum(share * kernel for share, kernel in zip(weights, kernels, strict=True))
            return F.conv2d(x, summed if self.num_members > 1 else kernels[0], padding="same")
        outputs = (F.conv2d(x, kernel, padding="same") for kernel in kernels)
        return sum(share * output for share, output in zip(weights, outputs, strict=True))  # type: ignore[return-value]

    def dense(self, rows: Tensor) -> Tensor:
        """By one permuted copy."""
        fields, order, extents = self.shape.out_fields, self.shape.group.order, self.shape.kernel_size
        split = rows.view(order, order, *extents, fields, self.shape.in_fields)
        return split.permute(4, 0, 5, 1, 2, 3).reshape(self.shape.format.weight_shape)


def layers_of(fields: int, *, with_escnn: bool) -> dict[str, nn.Module]:
    """All that are compared, of one shape."""
    group = em.group("D4")
    static = Conv2d(fields, fields, 5, group=group, padding="same", bias=False)
    six = em.search_groups("D4")
    found: dict[str, nn.Module] = {
        ORDINARY: nn.Conv2d(8 * fields, 8 * fields, 5, padding="same", bias=False),
        STATIC: static,
        "static C4": em.relax(static, "C4"),
        MIXTURE: em.mix(static),
        "mixture of six, tied": em.mix(static, tied=True),
        "index, torch's gradient, D4": ByIndexing(static, [group.whole], one_convolution=True),
        "index, torch's gradient, six": ByIndexing(static, six, one_convolution=True),
        "a convolution per subgroup, six": ByIndexing(static, six, one_convolution=False),
    }
    if with_escnn and (other := escnn_layer(fields)) is not None:
        found["escnn, D4"] = other
    return found


def escnn_layer(fields: int) -> nn.Module | None:
    """A convolution of escnn between regular features of D4, on plain tensors; None where it is not installed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from escnn import gspaces
            from escnn import nn as enn
    except ImportError:
        return None
    space = gspaces.flipRot2dOnR2(N=4)
    feature = enn.FieldType(space, fields * [space.regular_repr])

    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = enn.R2Conv(feature, feature, 5, padding=2, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.conv(enn.GeometricTensor(x, feature)).tensor
            return y

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Wrapped()


def check(layers: dict[str, nn.Module], fields: int) -> None:
    """Stop unless the plain indexing gives the kernel that our layers give."""
    static, plain = layers[STATIC], layers["index, torch's gradient, D4"]
    assert isinstance(static, Conv2d) and isinstance(plain, ByIndexing)
    rows = static.space.rows()
    index = kernel_orbits(em.group("D4").whole, "regular", "regular", (5, 5)).index
    with torch.no_grad():
        assert torch.equal(rows, static.space.weight[torch.tensor(index)])  # type: ignore[index]
        assert torch.equal(plain.dense(rows), dense_from_rows(rows, static.space.shape.format))
        assert torch.equal(plain.dense(rows), static.dense_weight())
    mixture = layers[MIXTURE]
    assert isinstance(mixture, Conv2d) and isinstance(mixture.space, LogitMixture)


def step(layer: nn.Module, x: Tensor, gradient: Tensor, autocast: torch.dtype | None) -> Callable[[], None]:
    def work() -> None:
        with torch.autocast(x.device.type, dtype=autocast, enabled=autocast is not None):
            y = layer(x)
        y.backward(gradient.to(y.dtype))
        x.grad = None
        layer.zero_grad(set_to_none=True)

    return work


def main() -> None:
    options = parser(__doc__, rounds=25)
    options.add_argument("--shapes", default="8x28x64,16x14x64,32x7x64,32x7x16", help="fields x side x batch")
    options.add_argument("--autocast", choices=list(WITH), default="", help="automatic mixed precision")
    options.add_argument("--channels-last", action="store_true", help="images laid out with channels last")
    options.add_argument("--compile", action="store_true", help="all layers through torch.compile")
    options.add_argument("--only", default="", help="layers beside the ordinary one, with semicolons between")
    arguments = options.parse_args()
    device, autocast = arguments.device, WITH[arguments.autocast]
    plainly = not (arguments.channels_last or autocast)

    columns: dict[str, dict[str, object]] = {}
    for shape in arguments.shapes.split(","):
        fields, side, batch = (int(number) for number in shape.split("x"))
        layers = layers_of(fields, with_escnn=plainly)
        check(layers, fields)
        layers = chosen(layers, arguments.only, always=ORDINARY)
        x = torch.randn(batch, 8 * fields, side, side, device=device)
        x = x.to(memory_format=torch.channels_last) if arguments.channels_last else x
        gradient = torch.randn_like(x)
        x.requires_grad_()
        layers = {name: layer.to(device).train() for name, layer in layers.items()}
        runs = {name: torch.compile(layer) for name, layer in layers.items()} if arguments.compile else layers
        works = {name: step(layer, x, gradient, autocast) for name, layer in runs.items()}
        taken = seconds_in_turns(works, rounds=arguments.rounds, device=device, calls=arguments.calls)
        title = f"{fields} fields, {side}², {batch}"
        columns[title] = {name: ratio(taken, name, ORDINARY) for name in works}
        columns[title]["seconds of " + ORDINARY] = sorted(taken[ORDINARY])[len(taken[ORDINARY]) // 2]
        print(f"{title}: {', '.join(f'{name} {value}' for name, value in columns[title].items())}", flush=True)

    names = [name for name in next(iter(columns.values())) if name != ORDINARY and not name.startswith("seconds")]
    rows = [[name, *(column[name] for column in columns.values())] for name in names]
    text = table(["forward and backward, to " + ORDINARY, *columns], rows)
    report({"One layer": text}, columns, arguments)


if __name__ == "__main__":
    main()
