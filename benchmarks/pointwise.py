"""When are pointwise layers faster in the Fourier basis, as `em.plain(..., fourier=True)` puts them there?

Times the inference of 1x1 convolutions between regular features, and of heads, that commute with all of G: dense, as
an ordinary layer of torch, and as blocks of irreducible representations, ways into the basis and back included. Ratios
are dense / blocks: above 1, blocks are faster. "chosen" says what the library's estimate (`is_faster`) makes of the
layer. Beside it the dense layer on maps laid out with channels last, which is often its faster form on a CPU.

A layer is GROUP:IN>OUT:SIDE:BATCH, in fields, with "head" as the side for a linear map of vectors to OUT numbers.
Before timing, both ways are checked to give the same output. Blocks are a dozen short operations, so that they suffer
more than a dense layer from other work on the same cores: run this on a machine that does nothing else.

    python benchmarks/pointwise.py
    python benchmarks/pointwise.py --grid --onnx
    python benchmarks/pointwise.py --layers "D4:64>256:7:16,D4:256>1000:head:1" --threads 1
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from measuring import parser, ratio, report, seconds_in_turns, table
from torch import Tensor, nn

import equimorph as em
from equimorph.groups import Group
from equimorph.layers import Linear
from equimorph.morphisms.fourier import blocks_of, is_faster

SHORT = (
    *(f"D4:{fields}>{fields}:14:{batch}" for fields in (8, 16, 32, 64, 128) for batch in (1, 16)),
    *(
        "D4:32>128:14:1",
        "D4:128>32:14:16",
        "D4:64>256:7:1",
        "D4:256>64:7:16",
    ),  # as in ResNet-50 of 256 to 2048 channels
    *("C4:64>64:14:1", "C4:128>128:14:1", "C4:256>256:7:1"),
    *("O:8>8:7:1", "O:16>16:7:1", "O:32>32:7:1", "Oh:4>4:7:1", "Oh:8>8:7:1", "Oh:16>16:7:1"),
    *("D4:16>10:head:64", "D4:64>100:head:64", "D4:64>1000:head:1", "D4:256>1000:head:1", "D4:256>1000:head:64"),
)
GRID = tuple(
    f"D4:{fields}>{fields}:{side}:{batch}"
    for fields in (8, 16, 32, 64, 128)
    for side in (7, 14, 28, 56)
    for batch in (1, 16, 64)
    if fields * side**2 * batch <= 2**20  # 32 MiB of input
)
IN_3D = ("O", "Oh", "T", "Th", "Td")


def layer_of(text: str, device: str) -> tuple[nn.Module, Group, Tensor]:
    """A layer of the library, its group, and an input."""
    name, fields, side, batch = text.split(":")
    group = em.group(name, dim=3 if name in IN_3D else 2)
    into, out = (int(number) for number in fields.split(">"))
    channels = into * group.order
    if side == "head":
        return Linear(into, out, group=group, device=device), group, torch.randn(int(batch), channels, device=device)
    kind = em.layers.Conv3d if group.dim == 3 else em.layers.Conv2d
    x = torch.randn(int(batch), channels, *group.dim * (int(side),), device=device)
    return kind(into, out, 1, group=group, device=device), group, x


def in_torch(layer: nn.Module, x: Tensor) -> Callable[[], Tensor]:
    def work() -> Tensor:
        with torch.inference_mode():
            y: Tensor = layer(x)
        return y

    return work


def in_onnxruntime(layer: nn.Module, x: Tensor, threads: int) -> Callable[[], Tensor]:
    """The exported layer."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # threads that wait would slow the others
    with tempfile.TemporaryDirectory() as parent:
        done = em.export(layer, Path(parent) / "out", format="onnx", example=x[:1])
        session = onnxruntime.InferenceSession(done.folder / "network.onnx", options)
    sample = x.numpy()

    def work() -> Tensor:
        return torch.from_numpy(session.run(None, {"image": sample})[0])

    return work


def works_of(text: str, arguments: argparse.Namespace) -> tuple[dict[str, Callable[[], Tensor]], bool]:
    """All that is timed of a layer, and whether the library's estimate is for blocks."""
    layer, group, x = layer_of(text, arguments.device)
    dense = em.plain(layer, x)
    blocks = blocks_of(dense, group)
    works = {"dense": in_torch(dense, x), "blocks": in_torch(blocks, x)}
    if x.ndim > 2:
        layout = torch.channels_last if x.ndim == 4 else torch.channels_last_3d
        works["channels last"] = in_torch(dense, x.to(memory_format=layout))
    if arguments.onnx:
        works["dense, onnx"] = in_onnxruntime(dense, x, arguments.threads)
        works["blocks, onnx"] = in_onnxruntime(blocks, x, arguments.threads)
    expected = works["dense"]()
    for name, work in works.items():
        difference = float((work() - expected).abs().max() / expected.abs().max())
        if difference > 1e-4 and not x.is_cuda:  # where TF32 may multiply, rounding is coarser
            raise SystemExit(f"{text}: {name} differs by {difference:.1e} of the largest output.")
    return works, is_faster(dense, group, x[0, 0].numel())


def main() -> None:
    options = parser(__doc__, rounds=25)
    options.add_argument("--layers", default=None, help="GROUP:IN>OUT:SIDE:BATCH, with commas between")
    options.add_argument("--grid", action="store_true", help="8 to 128 fields of D4, 7 to 56 pixels, batches 1 to 64")
    options.add_argument("--onnx", action="store_true", help="also as exported to ONNX, in onnxruntime, on the CPU")
    options.add_argument("--threads", type=int, default=2, help="of the CPU")
    arguments = options.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.onnx and arguments.device != "cpu":
        options.error("--onnx is timed on the CPU alone; leave --device out.")
    layers = arguments.layers.split(",") if arguments.layers else GRID if arguments.grid else SHORT

    figures: dict[str, dict[str, object]] = {}
    for text in layers:
        works, chosen = works_of(text, arguments)
        taken = seconds_in_turns(works, rounds=arguments.rounds, device=arguments.device, calls=arguments.calls)
        found: dict[str, object] = {"dense, ms": f"{1000 * sorted(taken['dense'])[len(taken['dense']) // 2]:.2f}"}
        found["blocks"] = ratio(taken, "dense", "blocks")
        found["channels last"] = ratio(taken, "dense", "channels last") if "channels last" in taken else "–"
        if arguments.onnx:
            found["blocks, onnxruntime"] = ratio(taken, "dense, onnx", "blocks, onnx")
        figures[text] = {**found, "chosen": "yes" if chosen else "no"}
        print(f"{text}: {', '.join(f'{name} {value}' for name, value in figures[text].items())}", flush=True)

    rows = [[text, *found.values()] for text, found in figures.items()]
    head = ["fields, side, batch", *next(iter(figures.values()))]
    report({"Inference, dense / other": table(head, rows)}, figures, arguments)


if __name__ == "__main__":
    main()
