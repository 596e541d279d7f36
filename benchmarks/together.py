"""Would the candidates of one generation train faster together than one after the other?

All children of a parent have dense kernels of the same shapes, so they can be stacked. Trains a number of networks of
the paper's shape for a step, each with its own weights on the same batch:

- one by one, as the search does;
- stacked: `torch.func.vmap` over the stacked weights, which makes one grouped convolution of theirs;
- on a GPU also as CUDA graphs, one for each network, on streams of their own.

These are ordinary networks of the same dense width (the free ones, exported), so this is the most that stacking could
win: kernels, which each candidate makes of its own weights, and norms tied over different cosets would come on top.
Before timing, all ways are checked to give the same losses.

    python benchmarks/together.py
    python benchmarks/together.py --device cuda --candidates 4,8,16
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
import torch.nn.functional as F
from measuring import parser, ratio, report, seconds_in_turns, table
from torch import Tensor, nn

import equimorph as em

ONE_BY_ONE, STACKED, GRAPHS = "one by one", "stacked", "CUDA graphs on streams"
LR = 1e-4
SIZES = {
    "digits: fields 4, 8, 12²": ((4, 8), 12),
    "fields 8, 16, 28²": ((8, 16), 28),
    "paper: fields 16, 32, 28²": ((16, 32), 28),
}


def networks(fields: tuple[int, int], image_size: int, count: int, device: str) -> list[nn.Module]:
    """Different weights, one shape."""
    example = torch.zeros(2, 1, image_size, image_size)
    made = []
    for seed in range(count):
        network = em.models.PaperNetwork(
            group="D4",
            constraints="C1",
            image_size=image_size,
            in_channels=1,
            num_classes=10,
            fields=fields,
            generator=torch.Generator().manual_seed(seed),
        )
        made.append(em.plain(network, example).train().requires_grad_(True).to(device))
    return made


def one_by_one(group: list[nn.Module], x: Tensor, y: Tensor) -> Callable[[], Tensor]:
    optimizers = [torch.optim.SGD(network.parameters(), lr=LR, momentum=0.9) for network in group]

    def work() -> Tensor:
        losses = []
        for network, optimizer in zip(group, optimizers, strict=True):
            optimizer.zero_grad()
            loss = F.cross_entropy(network(x), y)
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        return torch.stack(losses)

    return work


def stacked(group: list[nn.Module], x: Tensor, y: Tensor) -> Callable[[], Tensor]:
    parameters, buffers = torch.func.stack_module_state(group)
    skeleton = copy.deepcopy(group[0]).to("meta")
    leaves = {name: one.detach().requires_grad_() for name, one in parameters.items()}
    optimizer = torch.optim.SGD(list(leaves.values()), lr=LR, momentum=0.9)

    def loss_of(parameters: dict[str, Tensor], buffers: dict[str, Tensor]) -> Tensor:
        return F.cross_entropy(torch.func.functional_call(skeleton, (parameters, buffers), x), y)

    together = torch.func.vmap(loss_of, randomness="different")

    def work() -> Tensor:
        optimizer.zero_grad()
        losses = together(leaves, buffers)
        losses.sum().backward()
        optimizer.step()
        return losses.detach()

    return work


def graphs(group: list[nn.Module], x: Tensor, y: Tensor) -> Callable[[], Tensor]:
    streams = [torch.cuda.Stream() for _ in group]
    captured, losses = [], []
    for network, stream in zip(group, streams, strict=True):
        step = one_by_one([network], x, y)
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                step()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=stream):
            losses.append(step())
        captured.append(graph)

    def work() -> Tensor:
        for stream, graph in zip(streams, captured, strict=True):
            with torch.cuda.stream(stream):
                graph.replay()
        for stream in streams:
            torch.cuda.current_stream().wait_stream(stream)
        return torch.cat(losses)

    return work


def check(group: list[nn.Module], x: Tensor, y: Tensor, ways: dict[str, Callable[..., Callable[[], Tensor]]]) -> None:
    """Stop unless all ways give the same losses, step after step."""
    expected = None
    for name, way in ways.items():
        work = way(copy.deepcopy(group), x, y)
        found = torch.stack([work() for _ in range(3)])
        if name == GRAPHS:
            continue  # warming up has trained these on
        expected = found if expected is None else expected
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def main() -> None:
    options = parser(__doc__, rounds=9)
    options.add_argument("--candidates", default="4,8", help="how many at once")
    options.add_argument("--batch-size", type=int, default=64)
    options.add_argument("--sizes", default="digits,fields,paper", help="the first words of the sizes to try")
    arguments = options.parse_args()
    device = arguments.device
    ways = {ONE_BY_ONE: one_by_one, STACKED: stacked} | ({GRAPHS: graphs} if device.startswith("cuda") else {})
    figures, rows = [], []
    chosen = {title: size for title, size in SIZES.items() if title.partition(" ")[0].strip(":") in arguments.sizes}
    for title, (fields, size) in chosen.items():
        x = torch.randn(arguments.batch_size, 1, size, size, device=device)
        y = torch.randint(10, (len(x),), device=device)
        for count in (int(number) for number in arguments.candidates.split(",")):
            group = networks(fields, size, count, device)
            check(group, x, y, ways)
            works = {name: way(copy.deepcopy(group), x, y) for name, way in ways.items()}
            taken = seconds_in_turns(works, rounds=arguments.rounds, device=device, calls=arguments.calls)
            ratios = {name: ratio(taken, name, ONE_BY_ONE) for name in ways if name != ONE_BY_ONE}
            used = sorted(taken[ONE_BY_ONE])[len(taken[ONE_BY_ONE]) // 2] / count
            figures.append({"size": title, "candidates": count, "seconds of one": used, **ratios})
            rows.append([title, count, f"{1e3 * used:.1f}", *ratios.values()])
            print(*rows[-1], flush=True)
    head = [
        "network",
        "candidates",
        "one of them alone, ms",
        *(f"{way}, to one by one" for way in ways if way != ONE_BY_ONE),
    ]
    report({"A step of several candidates": table(head, rows)}, figures, arguments)


if __name__ == "__main__":
    main()
