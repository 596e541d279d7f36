"""The options that subcommands share: data, network, training, strategies, and what is made of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from equimorph import data
from equimorph.cli.reading import add_reading_options, read_samples
from equimorph.data.readers import READERS
from equimorph.search import Strategy, strategy_named
from equimorph.training import TrainingSettings
from equimorph.training.settings import (
    ClassWeights,
    OptimizerName,
    PrecisionName,
    ScheduleName,
)

_Add = Callable[..., Any]


def add_data_options(add: _Add) -> None:
    """What is trained on, and the group."""
    add(
        "--data",
        type=str,
        required=True,
        help=f"the data set: {', '.join(data.names())}; or your own: {'; '.join(reader.form for reader in READERS)}",
    )
    add_reading_options(add)
    add("--train-samples", type=int | None, default=None, help="train on so many samples (default: all)")
    add(
        "--split",
        type=int,
        default=0,
        help="0 for the data set's own training, validation and test set; another number draws them anew",
    )
    add("--group", type=str, default="D4", help="G, the most symmetry a site can have: C2 C4 D1 D2 D4 ...")
    add(
        "--subgroups",
        type=str | None,
        default=None,
        help="[G], the subgroups that sites may have, for instance C1,C4,D4; G is always one of them "
        "(default for D4: C1,C2,C4,D1,D2,D4)",
    )


def add_strategy_options(add: _Add) -> None:
    """What the two searches take."""
    add("--epochs", type=float, default=30.0, help="length of a lineage: what the returned network is trained for")
    add("--generations", type=int, default=2, help="evolutionary: rounds of relaxing and selecting")
    add(
        "--initial-epochs",
        type=float | None,
        default=None,
        help="evolutionary: epochs of the first networks before they are relaxed (default: a third of --epochs for one "
        "network, 0.6 of them for one at each subgroup)",
    )
    add("--population", type=int, default=2, help="evolutionary: candidates that go on from a generation")
    add(
        "--moves",
        type=str,
        default="tails",
        help="evolutionary: paper, one site at a time; tails, also all sites from one on",
    )
    add(
        "--children",
        type=int | None,
        default=3,
        help="evolutionary: candidates trained in a generation, at most; null for all",
    )
    add(
        "--evolutionary-start",
        type=str,
        default="members",
        help="evolutionary: members, one network for each subgroup; group, one at G",
    )
    add(
        "--selection",
        type=str,
        default="halving",
        help="evolutionary: halving, the least errors, half as many each time; pareto, the front of error and size",
    )
    add(
        "--start",
        type=str,
        default="prior",
        help="differentiable: prior, most weight on G at first; uniform, equal weights",
    )
    add(
        "--architecture-batches",
        type=str,
        default="held-out",
        help="differentiable: held-out, a part of the training set kept for the mixture weights; train, other batches "
        "of the training set; same, the batch of the weights, in one backward pass",
    )
    add("--held-out", type=float, default=0.2, help="differentiable: share of the training set in that part")
    add("--tied", action="store_true", help="differentiable: members are projections of one kernel")
    add("--skip", action="store_true", help="differentiable: a skip path is one more member where a layer allows it")
    add(
        "--architecture-lr",
        type=float | None,
        default=None,
        help="differentiable: Adam's learning rate for the logits (default: --travel over the steps of the search)",
    )
    add("--travel", type=float, default=5.0, help="differentiable: how far a logit can move in the search")
    add("--temperature", type=float, default=1.0, help="differentiable: of the softmax at the beginning")
    add(
        "--final-temperature",
        type=float | None,
        default=None,
        help="differentiable: of the softmax at the end (default: as at the beginning)",
    )
    add(
        "--result",
        type=str,
        default="discretised",
        help="differentiable: discretised, the best single subgroups, trained on; mixture; retrained, the mixture from "
        "scratch with fixed weights",
    )
    add(
        "--search-epochs",
        type=float | None,
        default=None,
        help="differentiable: epochs before the mixture is discretised (default: a third of --epochs)",
    )
    add(
        "--judge",
        type=str,
        default="change",
        help="differentiable: change, choose single subgroups by shares relative to the start; share, by the shares",
    )


def add_training_options(add: _Add) -> None:
    """How everything is trained."""
    add(
        "--metric",
        type=str,
        default="error",
        help="what candidates are chosen by, and the test error is: error, the share that is wrong; balanced-error, "
        "1 - balanced accuracy; auroc-error, 1 - AUROC",
    )
    add(
        "--class-weights",
        type=ClassWeights,
        default="none",
        help="for unequal classes: loss weighs rare ones more, sampling draws them more often",
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
    add(
        "--augment",
        type=str,
        default="",
        help="change the training samples at random, with commas between: turn, mirror, shift=0.1, scale=0.1, "
        "intensity=0.1, move=H, fill=reflection|border|mean (default: not at all)",
    )
    add("--device", type=str, default="auto", help="auto, cpu, cuda, cuda:1 or mps")
    add("--precision", type=PrecisionName, default="32", help="32, 64, bf16-mixed or 16-mixed")
    add("--deterministic", type=bool, default=True, help="whether a run on a GPU repeats to the bit: true or false")


def make_training(options: Any, seed: int) -> TrainingSettings:
    """The settings of one training."""
    return TrainingSettings(
        epochs=options.epochs,
        batch_size=options.batch_size,
        optimizer=options.optimizer,
        lr=options.lr,
        momentum=options.momentum,
        weight_decay=options.weight_decay,
        schedule=options.schedule,
        augment=options.augment,
        class_weights=options.class_weights,
        device=options.device,
        precision=options.precision,
        deterministic=options.deterministic,
        seed=seed,
    )


def make_strategy(text: str, options: Any) -> Strategy:
    """The strategy of that name, with the options of the searches."""
    return strategy_named(
        text,
        groups=None if options.subgroups is None else names_in(options.subgroups),
        evolutionary={
            "generations": options.generations,
            "population": options.population,
            "moves": options.moves,
            "initial_epochs": options.initial_epochs,
            "children": options.children,
            "start": options.evolutionary_start,
            "selection": options.selection,
        },
        differentiable={
            "start": options.start,
            "batches": options.architecture_batches,
            "held_out": options.held_out,
            "tied": options.tied,
            "skip": options.skip,
            "architecture_lr": options.architecture_lr,
            "travel": options.travel,
            "temperature": options.temperature,
            "final_temperature": options.final_temperature,
            "result": options.result,
            "search_epochs": options.search_epochs,
            "judge": options.judge,
        },
    )


def load_samples(options: Any) -> data.ImageData:
    """The data set."""
    samples = read_samples(options.data, options)
    return samples if options.train_samples is None else samples.subset(options.train_samples)


def config_of(options: Any, *left_out: str) -> dict[str, Any]:
    """The merged options as they are written into a folder."""
    return {key: value for key, value in options.as_dict().items() if key not in left_out}


def names_in(text: str) -> list[str]:
    """The names in a list with commas between."""
    return [name.strip() for name in text.split(",") if name.strip()]
