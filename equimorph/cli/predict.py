"""Predict from images with the best network of a run, and tell how far predictions change when images are moved.

Images are prepared as the training samples were; what comes out is CSV.
"""

from __future__ import annotations

import csv
import os
import re
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from equimorph.cli.progress import Reading
from equimorph.cli.runs import add_run_arguments, open_run
from equimorph.data.sources import ChannelAxis
from equimorph.deploy.prediction import Prediction, predict
from equimorph.deploy.samples import find_images
from equimorph.errors import DataError
from equimorph.groups import Group
from equimorph.inspection import sites
from equimorph.reports.dataset.moves import tell_move


def add_arguments(parser: ArgumentParser) -> None:
    """Declare what the subcommand takes."""
    add = parser.add_argument
    add_run_arguments(add)
    add(
        "files",
        metavar="IMAGES",
        type=str,
        nargs="+",
        help='image files or .npy arrays, folders of them, or patterns like "*.png"',
    )
    add("--out", type=str | None, default=None, help="the CSV file to write (default: to standard output)")
    add("--orbit", action="store_true", help="also predict every image moved by each element of the group")
    add("--skip-bad", action="store_true", help="leave out files that cannot be used, instead of stopping")
    add(
        "--channel-axis",
        type=ChannelAxis | None,
        default=None,
        help="of arrays: auto, first, last (default: the run's)",
    )
    add("--device", type=str, default="cpu", help="cpu, cuda, cuda:1 or mps")
    add("--batch-size", type=int, default=64, help="images at a time")
    add("--workers", type=int | None, default=None, help="processes that decode (default: one a core)")
    add("--debug", action="store_true", help="show the trace of an error")


def run(options: Any) -> int:
    """Predict, write the table, and say in one line what came out."""
    run = open_run(options.run, options.network)
    images = find_images(options.files)
    if options.out is not None:
        _check_writable(Path(options.out))
    with Reading() as progress:
        found = predict(
            run.network,
            images,
            run.preprocessing,
            labels=run.labels,
            is_classifier=None if run.start().get("targets", "classes") == "classes" else False,
            orbit=options.orbit,
            channel_axis=options.channel_axis or run.channel_axis(),
            skip_bad=options.skip_bad,
            batch_size=options.batch_size,
            device=options.device,
            workers=options.workers,
            progress=progress,
        )
    group = next(iter(sites(run.network).values())).group
    _write(found, group, options.out)
    print(_summary(found, group, options.out), file=sys.stderr)
    return 0


def name_move(group: Group, element: int) -> str:
    """What an element does, as a name for a column.

    Example:
        >>> from equimorph.groups import group
        >>> D4 = group("D4")
        >>> [name_move(D4, element) for element in (1, 3, 4, 5)]
        ['turn90_clockwise', 'turn180', 'flip_left-right', 'mirror_main_diagonal']
    """
    words = tell_move(group, element).replace("turned by ", "turn").replace("°", "").replace("−", "-")
    words = words.replace("mirrored in the ", "mirror_").replace("mirrored ", "mirror_").replace("flipped ", "flip_")
    return re.sub(r"[^\w-]+", "_", words)


def _check_writable(path: Path) -> None:
    is_there_already = path.exists()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.open("a").close()
        if not is_there_already:
            path.unlink()  # nothing is left where something else goes wrong
    except OSError as error:
        raise DataError(f"predict: {path} cannot be written: {error.strerror}; name another --out.") from None


def _write(found: Sequence[Prediction], group: Group, out: str | None) -> None:
    try:
        with Path(out).open("w", newline="", encoding="utf-8") if out else nullcontext(sys.stdout) as file:
            rows = csv.writer(file, lineterminator="\n")
            rows.writerow(_head(found[0], group))
            rows.writerows(_row(prediction) for prediction in found)
            file.flush()
    except BrokenPipeError:  # whoever reads has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _head(first: Prediction, group: Group) -> list[str]:
    if first.predicted is None:
        head = ["file", *(name if name.startswith("output_") else f"output_{name}" for name in first.values)]
        moved = [f"{name_move(group, moved.element)}_difference" for moved in first.moved]
        return [*head, *(["largest_difference"] if moved else []), *moved]
    head = ["file", "predicted", *(f"p_{label}" for label in first.values)]
    names = [name_move(group, moved.element) for moved in first.moved]
    columns = [f"{name}_{what}" for name in names for what in ("predicted", "probability")]
    return [*head, *(["agreement", "largest_difference"] if names else []), *columns]


def _row(prediction: Prediction) -> list[str]:
    values = [f"{value:.6g}" for value in prediction.values.values()]
    largest = [f"{prediction.largest_difference:.3g}"] if prediction.moved else []
    if prediction.predicted is None:
        return [prediction.file, *values, *largest, *(f"{moved.difference:.3g}" for moved in prediction.moved)]
    agreement = [] if prediction.agreement is None else [f"{prediction.agreement:.4g}"]
    cells = [cell for moved in prediction.moved for cell in (moved.predicted or "", f"{moved.probability:.6g}")]
    return [prediction.file, prediction.predicted, *values, *agreement, *largest, *cells]


def _summary(found: Sequence[Prediction], group: Group, out: str | None) -> str:
    told = [f"{len(found):,} image{'s' if len(found) != 1 else ''}{'' if out is None else f' in {out}'}"]
    moves = len(found[0].moved)
    agreements = [prediction.agreement for prediction in found if prediction.agreement is not None]
    if agreements:
        mean = sum(agreements) / len(agreements)
        told.append(f"mean agreement {100 * mean:.1f} % over {moves} move{'s' if moves > 1 else ''} of {group.name}")
    if moves:
        told.append(f"largest difference {max(prediction.largest_difference for prediction in found):.2g}")
    return "; ".join(told)
