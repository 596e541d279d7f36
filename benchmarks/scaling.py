"""How does the cost of a layer grow with fields, members, the order of the group, the image and the batch?

One of these is varied at a time. Times a forward and a backward pass of a convolution between regular features, static
and as a mixture, as a ratio to torch's convolution of the same dense shape. The image shrinks or grows with nothing but
its own row, so the absolute seconds of the ordinary convolution are printed, too.

    python benchmarks/scaling.py
    python benchmarks/scaling.py --device cuda --autocast bf16
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from layers import WITH, step
from measuring import parser, ratio, report, seconds_in_turns, table
from torch import nn

import equimorph as em
from equimorph.layers import Conv1d, Conv2d, Conv3d

ORDINARY = "ordinary"


@dataclass(frozen=True)
class Case:
    """One layer; what is varied and its value are the name of its row."""

    varied: str = ""
    value: Any = ""
    group: str = "D4"
    dim: int = 2
    fields: int = 16
    side: int = 14
    batch: int = 32
    kernel: int = 5
    members: int | None = None


def cases(most_channels: int) -> Iterator[Case]:
    start = Case()
    for fields in (2, 4, 8, 16, 32, 64):
        yield replace(start, varied="fields", value=fields, fields=fields, batch=16)
    for members in (1, 2, 4, 6, 8, 10):
        yield replace(start, varied="members", value=members, members=members)
    for side in (7, 14, 28, 56):
        yield replace(start, varied="image side", value=side, side=side, batch=16, fields=8)
    for batch in (4, 16, 64, 256):
        yield replace(start, varied="batch", value=batch, batch=batch, side=7)
    # The same number of channels, divided into fewer fields where the group is larger.
    for name, order in (("Z2", 2),):
        yield Case("group", f"{name} ({order})", name, 1, most_channels // order, 256, 16)
    for name, order in (("C2", 2), ("C4", 4), ("D4", 8)):
        yield Case("group", f"{name} ({order})", name, 2, most_channels // order, 14, 16)
    for name, order in (("D4h@z", 16), ("O", 24), ("Oh", 48)):
        yield Case("group", f"{name} ({order})", name, 3, most_channels // order, 6, 16, 3)


def layers_of(case: Case) -> dict[str, nn.Module]:
    group = em.group(case.group, dim=case.dim)
    ours = {1: Conv1d, 2: Conv2d, 3: Conv3d}[case.dim]
    ordinary = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[case.dim]
    channels = case.fields * group.order
    static = ours(case.fields, case.fields, case.kernel, group=group, padding="same", bias=False)
    members = em.search_groups(group) if case.members is None else group.subgroups()[::-1][: case.members]
    return {
        ORDINARY: ordinary(channels, channels, case.kernel, padding="same", bias=False),
        "static": static,
        "mixture": em.mix(static, groups=members),
    }


def main() -> None:
    options = parser(__doc__, rounds=11)
    options.add_argument("--autocast", choices=list(WITH), default="", help="automatic mixed precision")
    options.add_argument("--channels", type=int, default=96, help="of the features, where the group is varied")
    options.add_argument("--only", default="", help="fields, members, image side, batch or group")
    arguments = options.parse_args()
    device, figures, rows = arguments.device, [], []
    for case in cases(arguments.channels):
        if arguments.only not in ("", case.varied):
            continue
        layers = layers_of(case)
        members = len(layers["mixture"].space.members)  # type: ignore[union-attr, arg-type]
        channels = case.fields * em.group(case.group, dim=case.dim).order
        x = torch.randn(case.batch, channels, *[case.side] * case.dim, device=device)
        gradient = torch.randn_like(x)
        x.requires_grad_()
        works = {name: step(layer.to(device), x, gradient, WITH[arguments.autocast]) for name, layer in layers.items()}
        taken = seconds_in_turns(works, rounds=arguments.rounds, device=device, calls=arguments.calls)
        static, mixture = ratio(taken, "static", ORDINARY), ratio(taken, "mixture", ORDINARY)
        used = sorted(taken[ORDINARY])[len(taken[ORDINARY]) // 2]
        shape = f"{case.fields} fields, {case.side}{'²³'[case.dim - 2] if case.dim > 1 else ''}, {case.batch}"
        figures.append({**case.__dict__, "members": members, "static": static, "mixture": mixture, "seconds": used})
        rows.append([case.varied, case.value, shape, f"{1e3 * used:.1f}", static, mixture, members])
        print(*rows[-1], flush=True)
    head = ["varied", "value", "fields, image, batch", "ordinary, ms", "static, to ordinary", "mixture", "its members"]
    report({"Cost of a layer, forward and backward": table(head, rows)}, figures, arguments)


if __name__ == "__main__":
    main()
