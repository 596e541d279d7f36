"""What does a whole training step of the paper's network cost beside an ordinary network of the same dense width?

A step is forward, loss, backward and SGD with momentum, on images that are on the device already. The ordinary network
is the plain export of the free one: the same convolutions, norms, poolings and head in torch's own classes.

The memory of a step is the most bytes of tensors that are alive at one moment of it, less those alive before it
(parameters, their optimizer's state, the batch); on a GPU, what the allocator counts.

    python benchmarks/network_step.py --keep-memory
    python benchmarks/network_step.py --device cuda --fields 16,32 --batch-size 256 --autocast bf16
"""

from __future__ import annotations

import argparse
import weakref
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from measuring import chosen, parser, ratio, report, seconds_in_turns, synchronize, table
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import equimorph as em
from equimorph.cli.process import keep_freed_memory

ORDINARY = "ordinary network"
STATIC = "static D4"
WITH = {"": None, "bf16": torch.bfloat16, "fp16": torch.float16}
CHAIN = ("D4", "D4", "D4", "D2", "D2", "C2", "C2", "C1", "C1")


def networks(fields: tuple[int, int], image_size: int) -> dict[str, nn.Module]:
    """All that are compared, with the same dense kernels' shapes."""
    static = em.models.PaperNetwork(group="D4", image_size=image_size, in_channels=1, num_classes=10, fields=fields)
    example = torch.zeros(2, 1, image_size, image_size)
    found = {
        ORDINARY: em.plain(em.relax(static, "C1"), example).train(),
        STATIC: static,
        "static C4": em.relax(static, "C4"),
        "static D2": em.relax(static, "D2"),
        "static C1": em.relax(static, "C1"),
        "D4 to C1 with depth": em.relax(static, dict(zip(em.sites(static), CHAIN, strict=True))),
        "mixture of six": em.mix(static),
        "mixture of six, tied": em.mix(static, tied=True),
        "residual pathway": em.add_residual(static),
    }
    for network in found.values():
        for parameter in network.parameters():
            parameter.requires_grad_()
    return found


def stepper(network: nn.Module, x: Tensor, y: Tensor, autocast: torch.dtype | None) -> Callable[[], None]:
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9)

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(x.device.type, dtype=autocast, enabled=autocast is not None):
            loss = F.cross_entropy(network(x), y)
        loss.backward()
        optimizer.step()

    return step


def memory_of(step: Callable[[], None], device: str) -> int:
    """Bytes of a step, beyond what is there before it and stays."""
    step()
    synchronize(device)
    if device.startswith("cuda"):
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        step()
        return torch.cuda.max_memory_allocated(device) - before
    with LiveBytes() as live:
        step()
    return live.peak


def captured(step: Callable[[], None]) -> Callable[[], None]:
    """The same step by one launch: what the device does is recorded once, with the tensors that it does it to."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def said(arguments: argparse.Namespace) -> str:
    """How it was run, as far as it is not the usual way."""
    ways = [arguments.autocast, "compiled" * arguments.compile, "channels last" * arguments.channels_last]
    ways.append("as a CUDA graph" * arguments.graph)
    return "".join(f", {way}" for way in ways if way)


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of all tensors that come into being and are alive."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.seen: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        for old in tree_leaves((args, kwargs)):
            if isinstance(old, Tensor):
                self.seen.add(old.untyped_storage()._cdata)
        output = func(*args, **kwargs)
        for new in tree_leaves(output):
            if isinstance(new, Tensor):
                self.count(new.untyped_storage())
        return output

    def count(self, storage: torch.UntypedStorage) -> None:
        """One more, until it is freed."""
        key, size = storage._cdata, storage.nbytes()
        if key not in self.seen:
            self.seen.add(key)
            self.now += size
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self.forget, key, size)

    def forget(self, key: int, size: int) -> None:
        """Freed."""
        self.now -= size
        self.seen.discard(key)


def main() -> None:
    options = parser(__doc__, rounds=9)
    options.add_argument("--fields", default="16,32", help="in the two stages")
    options.add_argument("--image-size", type=int, default=28)
    options.add_argument("--batch-size", type=int, default=64)
    options.add_argument("--autocast", choices=list(WITH), default="", help="automatic mixed precision")
    options.add_argument("--channels-last", action="store_true", help="images laid out with channels last")
    options.add_argument("--keep-memory", action="store_true", help="keep freed memory, as `equimorph search` does")
    options.add_argument("--compile", action="store_true", help="all networks through torch.compile")
    options.add_argument("--graph", action="store_true", help="on a GPU: the whole step as one CUDA graph")
    options.add_argument("--only", default="", help="networks beside the ordinary one, with semicolons between")
    arguments = options.parse_args()
    first, second = (int(number) for number in arguments.fields.split(","))
    device, size = arguments.device, arguments.image_size
    if arguments.keep_memory:
        assert keep_freed_memory()

    x = torch.randn(arguments.batch_size, 1, size, size, device=device)
    y = torch.randint(10, (arguments.batch_size,), device=device)
    steps = {}
    for name, network in chosen(networks((first, second), size), arguments.only, always=ORDINARY).items():
        network.to(device)
        if arguments.channels_last:
            x = x.to(memory_format=torch.channels_last)
            first_layer = next(network.children())
            first_layer.register_forward_hook(lambda *parts: parts[2].to(memory_format=torch.channels_last))
        run = torch.compile(network) if arguments.compile else network
        steps[name] = stepper(run, x, y, WITH[arguments.autocast])
        if arguments.graph and device.startswith("cuda"):
            steps[name] = captured(steps[name])
    memory = {name: memory_of(step, device) for name, step in steps.items()}
    taken = seconds_in_turns(steps, rounds=arguments.rounds, device=device, warm_up=1, calls=arguments.calls)
    rows, figures = [], {}
    for name in steps:
        found = {
            "seconds": sorted(taken[name])[len(taken[name]) // 2],
            "to ordinary": ratio(taken, name, ORDINARY),
            "to static D4": ratio(taken, name, STATIC) if STATIC in taken else "–",
            "memory to ordinary": memory[name] / memory[ORDINARY],
            "memory bytes": memory[name],
        }
        figures[name] = found
        times = f"{1e3 * found['seconds']:.2f} | {found['to ordinary']} | {found['to static D4']}"
        rows.append([name, times, f"{found['memory to ordinary']:.3f}"])
    head = ["network", "ms a step", "to ordinary", "to static D4", "memory of a step, to ordinary"]
    shape = f"fields {arguments.fields}, images of {size}², batch {arguments.batch_size}"
    title = f"A training step: {shape}{said(arguments)}"
    report({title: table(head, rows)}, figures, arguments)


if __name__ == "__main__":
    main()
