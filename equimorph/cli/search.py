"""Search how much symmetry each layer of a network should keep, on a data set.

Writes a run folder with the history, the best network as plain PyTorch weights, and report.html.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from equimorph import data, reports
from equimorph.cli.progress import ProgressBar, TensorBoardLog, Together
from equimorph.errors import ConfigurationError, DivergedError
from equimorph.groups import group
from equimorph.inspection import sites
from equimorph.models import PaperNetwork
from equimorph.reports.words import describe_architecture
from equimorph.search import Result, RunFolder, strategy_named
from equimorph.search.catalog import FORMS
from equimorph.training import TrainingSettings
from equimorph.training.settings import OptimizerName, PrecisionName, ScheduleName, SeedBranch, derived_generator

_NOT_IN_CONFIG = ("config", "out", "debug", "subcommand")


def add_arguments(parser: ArgumentParser) -> None:
    """Declare what the subcommand takes."""
    add = parser.add_argument
    add("--config", action="config", help="a YAML file with any of these options, such as config.yaml of a run folder")
    add("--out", type=str, required=True, help="the run folder to make; it must not exist")
    add("--data", type=str, required=True, help=f"the data set: {', '.join(data.names())}")
    add("--data-dir", type=str | None, default=None, help="the folder with data files (default: $EQUIMORPH_DATA)")
    add("--group", type=str, default="D4", help="G, the most symmetry a site can have: C2 C4 D1 D2 D4 ...")
    add(
        "--subgroups",
        type=str | None,
        default=None,
        help="[G], the subgroups that sites may have, for instance C1,C4,D4; G is always one of them "
        "(default for D4: C1,C2,C4,D1,D2,D4)",
    )
    add("--strategy", type=str, default="evolutionary", help=f"{', '.join(FORMS)}")
    add("--generations", type=int, default=5, help="rounds of relaxing and selecting")
    add("--epochs", type=float, default=30.0, help="length of a lineage: what the returned network is trained for")
    add(
        "--initial-epochs",
        type=float | None,
        default=None,
        help="epochs of the first network before it is relaxed (default: a third of --epochs)",
    )
    add("--population", type=int, default=5, help="candidates that go on from a generation, at least")
    add("--moves", type=str, default="tails", help="paper: one site at a time; tails: also all sites from one on")
    add("--children", type=int | None, default=None, help="candidates trained in a generation, at most (default: all)")
    add(
        "--fields",
        type=str,
        default="16",
        help="regular fields of the first stage, and of the second (twice as many when left out), for instance 4,8",
    )
    add("--depth", type=int, default=8, help="convolution blocks")
    add("--kernel-size", type=int, default=5, help="side of the kernels, odd")
    add("--head-units", type=int, default=64, help="units of the head")
    add(
        "--pool-after",
        type=str | None,
        default=None,
        help="blocks after which the sides are halved, for instance 2,4 "
        "(default: every second one while four pixels a side remain)",
    )
    add("--batch-size", type=int, default=64, help="samples per training step")
    add("--optimizer", type=OptimizerName, default="sgd", help="sgd (with momentum), adam or adamw")
    add(
        "--lr",
        type=float | None,
        default=None,
        help="learning rate of the dense kernels (default: 0.05 for sgd, 0.001 for adam and adamw)",
    )
    add("--momentum", type=float, default=0.9, help="momentum of sgd")
    add("--weight-decay", type=float, default=1e-4, help="weight decay")
    add("--schedule", type=ScheduleName, default="cosine", help="learning rate over the lineage: cosine or constant")
    add("--device", type=str, default="auto", help="auto, cpu, cuda, cuda:1 or mps")
    add("--precision", type=PrecisionName, default="32", help="32, 64, bf16-mixed or 16-mixed")
    add("--seed", type=int, default=0, help="seed of everything drawn at random")
    add("--tensorboard", action="store_true", help="also write logs for TensorBoard into the run folder")
    add("--debug", action="store_true", help="show the trace of an error")


def run(options: Any) -> int:
    """Search, write the page, and say what was found."""
    RunFolder.check_absent(options.out)  # before the data are read
    training = TrainingSettings(
        epochs=options.epochs,
        batch_size=options.batch_size,
        optimizer=options.optimizer,
        lr=options.lr,
        momentum=options.momentum,
        weight_decay=options.weight_decay,
        schedule=options.schedule,
        device=options.device,
        precision=options.precision,
        seed=options.seed,
    )
    strategy = strategy_named(
        options.strategy,
        groups=None if options.subgroups is None else _names(options.subgroups),
        generations=options.generations,
        population=options.population,
        moves=options.moves,
        initial_epochs=options.initial_epochs,
        children=options.children,
    )
    ambient = group(options.group)
    samples = data.load(options.data, options.data_dir)
    if ambient.dim != samples.dim:
        raise ConfigurationError(
            f"search: {ambient.name} acts in dimension {ambient.dim}, and {samples.name} has images of "
            f"dimension {samples.dim}; choose another --group."
        )
    network = PaperNetwork(
        group=ambient,
        image_size=samples.image_size,
        in_channels=samples.in_channels,
        num_classes=samples.num_classes,
        fields=_fields(options.fields),
        depth=options.depth,
        kernel_size=options.kernel_size,
        head_units=options.head_units,
        pool_after=None if options.pool_after is None else _numbers("--pool-after", options.pool_after),
        generator=derived_generator(options.seed, SeedBranch.FIRST_VALUES),
    )
    config = {key: value for key, value in options.as_dict().items() if key not in _NOT_IN_CONFIG}
    with ProgressBar() as bar:
        observer = Together(bar, TensorBoardLog(options.out)) if options.tensorboard else bar
        try:
            result = strategy.run(
                network, samples, training=training, out=options.out, config=config, observer=observer
            )
        except DivergedError:
            reports.write(options.out)  # the page says how far it got
            raise
    page = reports.write(options.out)
    print(_summary(result, samples, page))
    return 0


def _summary(result: Result, samples: data.ImageData, page: Path) -> str:
    count = len(samples.test)
    spread = (result.test_error * (1 - result.test_error) / count) ** 0.5
    return "\n".join(
        [
            describe_architecture(list(sites(result.best)), result.candidate.constraints),
            f"test error      {100 * result.test_error:.2f} % ± {100 * spread:.2f} ({count:,} images, used once)",
            f"validation      {100 * (result.candidate.validation_error or 0):.2f} %",
            f"parameters      {result.candidate.parameters:,}",
            f"report          {page}",
            f"weights         {page.parent / 'best'} (plain PyTorch)",
        ]
    )


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _fields(text: str) -> tuple[int, ...]:
    numbers = _numbers("--fields", text)
    return (numbers[0], 2 * numbers[0]) if len(numbers) == 1 else numbers


def _numbers(option: str, text: str) -> tuple[int, ...]:
    try:
        return tuple(int(number) for number in text.split(",") if number.strip())
    except ValueError:
        raise ConfigurationError(f'{option} is "{text}"; it is whole numbers with commas between.') from None
