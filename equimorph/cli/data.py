"""List the named data sets, draw what is in one or in your own, or audit what symmetry its labels can have.

Each of show and audit writes a page that opens without a network.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser
from rich.console import Console
from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from equimorph import data
from equimorph.cli.options import names_in
from equimorph.cli.reading import add_reading_options, read_samples
from equimorph.data import LabelAudit, audit_labels
from equimorph.data.files import is_there
from equimorph.data.readers import READERS
from equimorph.errors import DataError, EquimorphError
from equimorph.groups import group
from equimorph.probing import Probe, probe
from equimorph.reports.dataset import write_audit, write_show
from equimorph.reports.dataset.probe_words import suggested, tell_probe


def add_arguments(parser: ArgumentParser) -> None:
    """Declare what the subcommand takes."""
    actions = parser.add_subcommands(dest="action")
    listing = ArgumentParser(description="List the named data sets.", exit_on_error=False)
    listing.add_argument("--data-dir", type=str | None, default=None, help="the folder with data files")
    listing.add_argument("--debug", action="store_true", help="show the trace of an error")
    actions.add_subcommand("list", listing, help="the named data sets: size, licence, where to get the file")
    show = ArgumentParser(description="Draw samples, the balance of classes, and orbits.", exit_on_error=False)
    _add_shared(show)
    show.add_argument("--per-class", type=int, default=6, help="samples drawn of each class")
    actions.add_subcommand("show", show, help="draw samples, the balance of classes, and what the group does to them")
    audit = ArgumentParser(
        description="Tell what symmetry the labels can have, before any training.", exit_on_error=False
    )
    _add_shared(audit)
    audit.add_argument("--subgroups", type=str | None, default=None, help="those to audit (default: all that fit)")
    audit.add_argument("--samples", type=int, default=4000, help="training samples to compare, at most")
    audit.add_argument("--seed", type=int, default=0, help="of the choice of samples")
    actions.add_subcommand("audit", audit, help="what symmetry the labels can have, before any training")


def run(options: Any) -> int:
    """Do what was asked for."""
    chosen = options[options.action]
    {"list": _list, "show": _show, "audit": _audit}[options.action](chosen)
    return 0


def _add_shared(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("name", type=str, help=f"the data set: {', '.join(data.names())}, or a path")
    add("--group", type=str, default="D4", help="G: D4 and its subgroups; Z2 for signals, O, Oh, ... for volumes")
    add("--out", type=str | None, default=None, help="the page to write (default: NAME-show.html, NAME-audit.html)")
    add_reading_options(parser.add_argument_group("how data are read").add_argument)
    add("--split", type=int, default=0, help="0 for the data set's own splits; another number draws them anew")
    add("--debug", action="store_true", help="show the trace of an error")


def _list(options: Any) -> None:
    console = Console(highlight=False)
    for task in data.TASKS.values():
        told = (task.sample, f"{task.splits} for training, validation, test", _whereabouts(task, options.data_dir))
        console.print(f"[bold]{task.name}[/]: {task.what}")
        for line in ("; ".join(told), f"labels: {task.symmetry}", f"licence: {task.licence}", f"from {task.source}"):
            console.print(Padding(line, (0, 0, 0, 4)))
    console.print("[bold]textures:H[/]: images of known symmetry, made on the spot; H is a subgroup of D4")
    forms = "; ".join(reader.form for reader in READERS)
    console.print(f"[bold]PATH[/]: your own data: {forms}")


def _whereabouts(task: data.Task, data_dir: str | None) -> str:
    if task.file is None:
        return "built in"
    if is_there(task.file, data_dir):
        return f"{task.file} is here"
    return f"{task.file} is {'downloaded when it is used' if task.remote is not None else 'not here'}"


def _show(options: Any) -> None:
    samples = read_samples(options.name, options).resplit(options.split)
    page = _page(options, samples, "show")
    task = data.TASKS.get(options.name)
    about = {} if task is None else {"what": task.what, "licence": task.licence, "source": task.source}
    if task is not None:
        about["symmetry of the labels"] = task.symmetry
    print(write_show(samples, group(options.group), page, per_class=options.per_class, about=about))


def _audit(options: Any) -> None:
    samples = read_samples(options.name, options).resplit(options.split)
    page = _page(options, samples, "audit")
    named = None if options.subgroups is None else names_in(options.subgroups)
    found = audit_labels(samples, group(options.group), groups=named, num_samples=options.samples, seed=options.seed)
    probed = _probed(samples, options)
    written = write_audit(found, samples, page, probed)
    if probed is not None:
        _print_probe(probed)
        print("\nSamples that nearly coincide when one of them is moved:")
    _print_audit(found, suggest=probed is None or probed.best is None)
    print(f"page            {written}")


def _probed(samples: data.ImageData, options: Any) -> Probe | None:
    """The probe's verdict, with progress; None, and why, where these data cannot be probed."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as shown:
        task = shown.add_task("features of moved samples", total=None)
        try:
            return probe(
                samples,
                group(options.group),
                num_samples=options.samples,
                seed=options.seed,
                progress=lambda done, of: shown.update(task, completed=done, total=of),
            )
        except EquimorphError as error:
            reason = str(error)
    print(f"No verdict: {reason.removeprefix('probe: ')} What follows looks at near samples alone.")
    return None


def _print_probe(found: Probe) -> None:
    print(tell_probe(found))
    table = Table(box=None, pad_edge=False)
    table.add_column("subgroup")
    for heading in ("loss", "error", "z"):
        table.add_column(heading, justify="right")
    table.add_column("verdict")
    table.add_column("breaks")
    for row in found.rows():
        table.add_row(*row)
    Console().print(table)
    if found.best is not None:
        print(f"suggested       --subgroups {','.join(suggested(found))}")


def _page(options: Any, samples: data.ImageData, kind: str) -> Path:
    page = Path(options.out or f"{samples.name.replace('/', '-').replace(':', '-')}-{kind}.html")
    is_there_already = page.exists()
    try:
        page.parent.mkdir(parents=True, exist_ok=True)
        page.open("a").close()
        if not is_there_already:
            page.unlink()  # nothing is left where something else goes wrong
    except OSError as error:
        raise DataError(f"data {kind}: {page} cannot be written: {error.strerror}; name another --out.") from None
    return page


def _print_audit(found: LabelAudit, *, suggest: bool) -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column("subgroup")
    for heading in ("error at least", "seen", "contradicting", "by chance"):
        table.add_column(heading, justify="right")
    table.add_column("verdict")
    for member in found.evidence:
        table.add_row(
            member.name,
            f"{100 * member.bound:.2f} % ± {100 * member.standard_error:.2f}",
            f"{member.seen:,}",
            f"{member.contradicting:,}",
            f"{member.expected:,.0f}",
            member.verdict,
        )
    Console().print(table)
    if suggest:
        print(f"suggested       --subgroups {','.join(found.suggested)}")
