"""Compare strategies on the same data, network, splits and epochs, over several seeds.

Writes a folder with a run folder for each strategy and seed, comparison.csv, a page with figures and paired tests, and
the table in Markdown. A comparison that was interrupted goes on where it stopped when it is called again.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jsonargparse import ArgumentParser
from rich.console import Console

from equimorph import data, reports
from equimorph.cli.networks import add_network_options, describe_network, make_network
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
from equimorph.cli.progress import ProgressBar
from equimorph.cli.reading import HOW_READ
from equimorph.errors import ConfigurationError, DivergedError, RunFolderError
from equimorph.inspection import mixture_shares
from equimorph.reports.comparison import Row, read_rows, write_rows
from equimorph.reports.words import compact
from equimorph.search import Result
from equimorph.search._base import ambient_group
from equimorph.search.catalog import FORMS, split_names
from equimorph.training import Trainer, metric_named

_DEFAULT = "growth,differentiable,static:G,static:C1,augmented"
_NOT_COMPARED = ("config", "out", "debug", "subcommand", "strategies", "seeds", "device", *HOW_READ)


def add_arguments(parser: ArgumentParser) -> None:
    """Declare what the subcommand takes."""
    add = parser.add_argument
    add("--config", action="config", help="a YAML file with any of these options, such as config.yaml of a comparison")
    add("--out", type=str, required=True, help="the folder of the comparison; when it exists, it is gone on with")
    add_data_options(parser.add_argument_group("data").add_argument)
    add(
        "--strategies",
        type=str,
        default=_DEFAULT,
        help=f"with commas between, of {', '.join(FORMS)}; static:G stands for the whole group. A search can have "
        "options of its own: differentiable:tied=true+start=uniform",
    )
    add("--seeds", type=int, default=5, help="how many seeds, from 0 on; more can be added later")
    add(
        "--resplit",
        action="store_true",
        help="draw training, validation and test set anew for each seed, where the test set is small",
    )
    add_strategy_options(parser.add_argument_group("strategy").add_argument)
    add_network_options(parser.add_argument_group("network").add_argument)
    add_training_options(parser.add_argument_group("training").add_argument)
    add("--debug", action="store_true", help="show the trace of an error")


def run(options: Any) -> int:
    """Run what is not there yet, and write the csv, the page and the table after each run."""
    keep_freed_memory()
    if options.seeds < 1:
        raise ConfigurationError(f"compare: --seeds is {options.seeds}; it must be at least one.")
    given = split_names(options.strategies)
    names = [f"static:{options.group}" if name == "static:G" else name for name in given]
    if not names:
        raise ConfigurationError(f"compare: --strategies is empty; name some of {', '.join(FORMS)}.")
    if len(set(names)) != len(names):
        raise ConfigurationError(f"compare: --strategies names one twice: {', '.join(names)}.")
    samples = load_samples(options)
    _check_strategies(names, options, samples)
    folder = _open(Path(options.out), config_of(options, *_NOT_COMPARED))
    console = Console(stderr=True)
    for seed in range(options.seeds):
        number = seed if options.resplit else options.split
        split = samples.resplit(number)
        for name in names:
            rows = read_rows(folder / "comparison.csv") if (folder / "comparison.csv").exists() else ()
            if any((row.strategy, row.seed) == (name, seed) for row in rows):
                continue
            console.print(f"[bold]{name}[/], seed {seed}", highlight=False)
            row = _run_one(name, seed, number, split, options, folder)
            write_rows(folder / "comparison.csv", [*rows, row])
            reports.write_comparison(folder)
    page = reports.write_comparison(folder)
    print((folder / "table.md").read_text().rstrip())
    print(f"\npage            {page}")
    return 0


def _check_strategies(names: list[str], options: Any, samples: data.ImageData) -> None:
    """Find out what is wrong with any of them before the first is run."""
    network = make_network(options, samples, 0)
    trainer = Trainer(samples, make_training(options, 0), metric=metric_named(options.metric))
    for name in names:
        make_strategy(name, options).plan(network, trainer)


def _open(folder: Path, config: Mapping[str, Any]) -> Path:
    """The folder with its config.yaml: a new one, or one that was made with the same configuration.

    Raises:
        RunFolderError: It is something else, or another configuration's.
    """
    import yaml

    path = folder / "config.yaml"
    if not folder.exists():
        try:
            folder.mkdir(parents=True)
        except OSError as error:
            raise RunFolderError(f"compare: {folder} cannot be made: {error.strerror}.") from None
        path.write_text(yaml.safe_dump(dict(config), sort_keys=False))
        return folder
    if not path.is_file():
        raise RunFolderError(
            f"compare: {folder} exists and is not the folder of a comparison; name another with --out."
        )
    try:
        present = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RunFolderError(f"compare: {path} is damaged: {error}; put it back, or name another --out.") from None
    if not isinstance(present, dict) or "data" not in present:
        raise RunFolderError(f"compare: {path} is damaged: it names no data set; put it back, or name another --out.")
    present = {**_defaults(), **present}  # an option that was none yet when it was made
    for key in config:
        if present.get(key) != config[key]:
            option = f"--{key.replace('_', '-')}"
            raise RunFolderError(
                f"compare: {folder} was made with {option} {present.get(key)}, and now it is {config.get(key)}; use "
                "the same options to go on, or another --out."
            )
    return folder


def _defaults() -> dict[str, Any]:
    """What an option is when it is not given."""
    parser = ArgumentParser(exit_on_error=False)
    add_arguments(parser)
    defaults: dict[str, Any] = parser.get_defaults().as_dict()
    return defaults


def _run_one(name: str, seed: int, split: int, samples: data.ImageData, options: Any, folder: Path) -> Row:
    out = folder / "runs" / f"{quote(name.replace(':', '-'), safe='=+,@')}-seed{seed}"
    if out.exists():
        shutil.rmtree(out)  # of a run that was interrupted, since it is not in the csv
    network = make_network(options, samples, seed)
    began = time.perf_counter()
    shared: dict[str, Any] = {
        "data": samples.name,
        "group": ambient_group(network).name,
        "network": describe_network(options),
        "strategy": name,
        "seed": seed,
        "split": split,
        "epochs": options.epochs,
        "test_samples": len(samples.test),
        "metric": options.metric,
    }
    config = config_of(options, "config", "out", "debug", "subcommand", "strategies", "seeds", "resplit")
    with ProgressBar() as bar:
        try:
            result = make_strategy(name, options).run(
                network,
                samples,
                training=make_training(options, seed),
                metric=metric_named(options.metric),
                out=out,
                config={**config, "strategy": name, "seed": seed, "split": split},
                observer=bar,
            )
        except DivergedError:
            seconds = time.perf_counter() - began
            reports.write(out)
            return Row(
                **shared,
                architecture="diverged",
                parameters=0,
                samples=0,
                seconds=seconds,
                validation_error=None,
                test_error=None,
            )
    reports.write(out)
    return Row(
        **shared,
        architecture=_architecture(result),
        parameters=result.candidate.parameters,
        samples=int(result.history[-1]["samples"]),
        seconds=time.perf_counter() - began,
        validation_error=result.candidate.validation_error,
        test_error=result.test_error,
    )


def _architecture(result: Result) -> str:
    shares = mixture_shares(result.best)
    if not shares:
        return compact(result.candidate.constraints)
    return f"mixture, mostly {compact([max(members, key=members.__getitem__) for members in shares.values()])}"
