"""Which operations of the device take the time of a step?

The longest of them by name, in shares of the time that the device was at work, and how much of the wall clock that was;
for the ordinary network, the static one and the mixture, as `network_step.py` has them.

    python benchmarks/kernel_times.py --device cuda --fields 16,32 --batch-size 256 --autocast bf16
"""

from __future__ import annotations

import torch
from measuring import chosen, parser, report, seconds, table
from network_step import ORDINARY, WITH, networks, stepper
from torch.profiler import ProfilerActivity, profile

NETWORKS = "static D4;mixture of six"


def main() -> None:
    options = parser(__doc__, rounds=5)
    options.add_argument("--fields", default="16,32", help="in the two stages")
    options.add_argument("--image-size", type=int, default=28)
    options.add_argument("--batch-size", type=int, default=64)
    options.add_argument("--autocast", choices=list(WITH), default="", help="automatic mixed precision")
    options.add_argument("--longest", type=int, default=14, help="operations to name")
    options.add_argument("--only", default=NETWORKS, help="networks beside the ordinary one, with semicolons between")
    arguments = options.parse_args()
    first, second = (int(number) for number in arguments.fields.split(","))
    device, size = arguments.device, arguments.image_size
    on_gpu = device.startswith("cuda")
    x = torch.randn(arguments.batch_size, 1, size, size, device=device)
    y = torch.randint(10, (arguments.batch_size,), device=device)
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    tables, figures = {}, {}
    for name, network in chosen(networks((first, second), size), arguments.only, always=ORDINARY).items():
        step = stepper(network.to(device), x, y, WITH[arguments.autocast])
        seconds(step, device, calls=3)
        wall = seconds(step, device, calls=arguments.rounds)
        with profile(activities=activities, acc_events=True) as found:
            seconds(step, device, calls=arguments.rounds)
        taken = {}
        for event in found.key_averages():
            spent = event.self_device_time_total if on_gpu else event.self_cpu_time_total
            of_device = str(event.device_type).endswith("CUDA") if on_gpu else True
            if spent and of_device:
                taken[event.key] = taken.get(event.key, 0) + spent / arguments.rounds
        busy = sum(taken.values())
        longest = sorted(taken.items(), key=lambda pair: -pair[1])[: arguments.longest]
        figures[name] = {"wall seconds": wall, "busy seconds": busy / 1e6, "longest": dict(longest)}
        rows = [[f"`{key[:90]}`", f"{used / 1e3:.3f}", f"{100 * used / busy:.1f} %"] for key, used in longest]
        title = f"{name}: {1e3 * wall:.2f} ms a step, of which the device was at work {busy / 1e3:.2f}"
        tables[title] = f"{title}:\n\n" + table(["operation", "ms a step", "share of the device's time"], rows)
    report(tables, figures, arguments)


if __name__ == "__main__":
    main()
