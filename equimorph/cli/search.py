"""Search how much symmetry each layer of a network should keep, on a data set.

Writes a run folder with the history, the best network as plain PyTorch weights, and report.html.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from equimorph import data, reports
from equimorph.cli.networks import add_network_options, make_network
from equimorph.cli.options import (
    add_data_options,
    add_strategy_options,
    add_training_options,
    config_of,
    load_samples,
    make_strategy,
    make_training,
)
from equimorph.cli.process import keep_freed_memory
from equimorph.cli.progress import ProgressBar, TensorBoardLog, Together
from equimorph.errors import DivergedError
from equimorph.inspection import mixture_shares, sites
from equimorph.reports.measures import name_metric, tell_error
from equimorph.reports.records import ERROR_RATE
from equimorph.reports.words import describe_architecture, describe_mixture
from equimorph.search import Result, RunFolder
from equimorph.search.catalog import FORMS
from equimorph.training import metric_named


def add_arguments(parser: ArgumentParser) -> None:
    """Declare what the subcommand takes."""
    add = parser.add_argument
    add("--config", action="config", help="a YAML file with any of these options, such as config.yaml of a run folder")
    add("--out", type=str, required=True, help="the run folder to make; it must not exist")
    add_data_options(parser.add_argument_group("data").add_argument)
    add("--strategy", type=str, default="evolutionary", help=f"{', '.join(FORMS)}")
    add_strategy_options(parser.add_argument_group("strategy").add_argument)
    add_network_options(parser.add_argument_group("network").add_argument)
    add_training_options(parser.add_argument_group("training").add_argument)
    add("--seed", type=int, default=0, help="seed of everything drawn at random")
    add("--tensorboard", action="store_true", help="also write logs for TensorBoard into the run folder")
    add("--debug", action="store_true", help="show the trace of an error")


def run(options: Any) -> int:
    """Search, write the page, and say what was found."""
    keep_freed_memory()
    RunFolder.check_absent(options.out)  # before the data are read
    training = make_training(options, options.seed)
    strategy = make_strategy(options.strategy, options)
    metric = metric_named(options.metric)
    samples = load_samples(options).resplit(options.split)
    network = make_network(options, samples, options.seed)
    config = config_of(options, "config", "out", "debug", "subcommand")
    with ProgressBar() as bar:
        observer = Together(bar, TensorBoardLog(options.out)) if options.tensorboard else bar
        try:
            result = strategy.run(
                network, samples, training=training, metric=metric, out=options.out, config=config, observer=observer
            )
        except DivergedError:
            reports.write(options.out)  # the page says how far it got
            raise
    page = reports.write(options.out)
    print(_summary(result, samples, page))
    return 0


def _summary(result: Result, samples: data.ImageData, page: Path) -> str:
    shares = mixture_shares(result.best)
    keeps = describe_architecture(list(sites(result.best)), result.candidate.constraints)
    return "\n".join(
        [
            describe_mixture(shares) if shares else keeps,
            f"test error      {_test_error(result, len(samples.test))}",
            f"validation      {tell_error(result.candidate.validation_error or 0, result.history[0]['metric'])}",
            f"parameters      {result.candidate.parameters:,}",
            f"report          {page}",
            f"weights         {page.parent / 'best'} (plain PyTorch)",
        ]
    )


def _test_error(result: Result, count: int) -> str:
    """With its binomial standard error, where it is the share of samples that are wrong."""
    error, metric = result.test_error, result.history[0]["metric"]
    if metric != ERROR_RATE:
        return f"{tell_error(error, metric)} ({name_metric(metric)}; {count:,} samples, used once)"
    return f"{100 * error:.2f} % ± {100 * (error * (1 - error) / count) ** 0.5:.2f} ({count:,} samples, used once)"
