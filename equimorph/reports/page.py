"""The page of a run: one HTML file that holds its figures, the code that draws them, and every number as text."""

from __future__ import annotations

from html import escape
from pathlib import Path

from equimorph.reports import words
from equimorph.reports.classification import make_classification, show_classification
from equimorph.reports.data_section import make_data_section
from equimorph.reports.measures import tell_error
from equimorph.reports.numbers import Numbers, read_numbers
from equimorph.reports.records import Candidate
from equimorph.reports.shell import ShownFigure, make_details, make_document, make_figure, make_section, make_table
from equimorph.reports.summary import make_cards, make_header

_NUMERIC = {"parameters", "validation error"}


def write(run_folder: str | Path) -> Path:
    """Make the page of a run, finished or not, from what its folder holds.

    Args:
        run_folder: The folder that a search wrote.
    Returns:
        The path of the page, `report.html` in that folder; an older page is replaced.
    Raises:
        RunFolderError: It is not a run folder, or one of its files cannot be understood.
    """
    numbers = read_numbers(run_folder)
    path = Path(run_folder) / "report.html"
    path.write_text(make_page(numbers), encoding="utf-8")
    return path


def make_page(numbers: Numbers) -> str:
    """The whole page as a text."""
    figures = _make_figures(numbers)
    title = f"{numbers.name}: equimorph {numbers.start.strategy} on {numbers.start.data}"
    parts = [
        make_cards(numbers),
        "".join(make_figure(key, shown) for key, shown in figures.items()),
        _make_front_table(numbers),
        _make_lineage_table(numbers),
        "" if numbers.scores is None else make_classification(numbers.scores, is_drawn="confusion" in figures),
        make_data_section(numbers),
        _make_settings(numbers),
        _make_environment(numbers),
    ]
    return make_document(title, header=make_header(numbers), parts=parts, figures=figures)


def _make_figures(numbers: Numbers) -> dict[str, ShownFigure]:
    """Figures by key, for those that have something to show."""
    from equimorph.reports import figures
    from equimorph.reports.mixture_figure import draw_mixture

    chosen: dict[str, ShownFigure] = {}
    if numbers.trajectory is not None:
        caption = escape(words.describe_trajectory(numbers))
        chosen["mixture"] = ShownFigure("What each layer leaned to", caption, draw_mixture(numbers))
    if len(numbers.trained) > 1 and numbers.has_choice:
        chosen["front"] = ShownFigure(
            "Error against size",
            "Each point is a network that was trained; lower is better, and left is smaller. The line joins the front: "
            "no other network of that generation is both smaller and better than one on it.",
            figures.draw_front(numbers),
        )
    if numbers.spans and numbers.trajectory is None:  # the constraint of a mixture says little beside its shares
        chosen["constraints"] = ShownFigure(
            "Which layer kept which symmetry, and until when",
            _explain_constraints(numbers),
            figures.draw_constraints(numbers),
        )
    confusion = None if numbers.scores is None else show_classification(numbers.scores)
    if confusion is not None:
        chosen["confusion"] = confusion
    if numbers.has_choice:
        chosen["tree"] = ShownFigure(
            "Family tree of the candidates",
            "Each network stands in its generation and is joined to the one it came from; darker means a lower "
            "validation error. Filled ones were selected, hollow ones were not.",
            figures.draw_family_tree(numbers),
        )
    if numbers.records.points:
        curves = figures.draw_learning_curves(numbers)
        chosen["curves"] = ShownFigure("Learning curves", _explain_curves(numbers), curves)
    return chosen


def _explain_constraints(numbers: Numbers) -> str:
    lead = "One row for each layer, the input on top, and training from left to right."
    if len(numbers.spans) == len(numbers.start.sites):
        return f"{lead} Every layer kept its group from beginning to end."
    return f"{lead} Where the colour changes to a lighter one, the layer was relaxed to a smaller group."


def _explain_curves(numbers: Numbers) -> str:
    if not numbers.lineage:
        return "Every candidate, until it diverged or the run stopped."
    if len(numbers.last_training) < len(numbers.lineage):
        return "The strong line is the best network, trained once more from scratch; what it came from is faint."
    line = "The strong line follows the best network back to the first."
    if len(numbers.changes) < 2:
        return line if numbers.has_choice or len(numbers.lineage) > 1 else "From the first epoch to the last."
    if numbers.trajectory is not None:
        return (
            f"{line} A dotted line stands where the mixture became single groups, which is another function, so the "
            "curves may jump there."
        )
    return (
        f"{line} A dotted line stands where its architecture changed; relaxing keeps the function, so the curves "
        "should not jump there."
    )


def _make_front_table(numbers: Numbers) -> str:
    if not numbers.front or not numbers.has_choice:
        return ""
    table = make_table(
        ["candidate", "architecture", "parameters", "validation error"],
        [
            [f"{member.id}{' · best' if member == numbers.best else ''}", *_describe(numbers, member)]
            for member in numbers.front
        ],
        caption="From the smallest network to the largest.",
        numeric=_NUMERIC,
        marked=[member == numbers.best for member in numbers.front],
    )
    return make_section("table", "The front", table)


def _make_lineage_table(numbers: Numbers) -> str:
    if len(numbers.changes) < 2:
        return ""
    table = make_table(
        ["epoch", "move", "architecture", "parameters", "validation error"],
        [[f"{member.first_epoch:.4g}", escape(member.move), *_describe(numbers, member)] for member in numbers.changes],
        caption="Each change of architecture along the best lineage, with the error after the training that followed.",
        numeric=_NUMERIC,
    )
    return make_details("How the best network came about", table)


def _make_settings(numbers: Numbers) -> str:
    config = numbers.records.config
    return make_details("Settings", f"<pre>{escape(config)}</pre>") if config.strip() else ""


def _make_environment(numbers: Numbers) -> str:
    if not numbers.records.environment:
        return ""
    rows = [[escape(key), escape(value)] for key, value in numbers.records.environment]
    return make_details("Environment", make_table(["what", "value"], rows, caption="Where the run was made."))


def _describe(numbers: Numbers, candidate: Candidate) -> list[str]:
    """Architecture, parameters and validation error, as cells of a table."""
    architecture = escape(words.describe_candidate(numbers, candidate)).replace(" ×", "&nbsp;×")
    return [architecture, f"{candidate.parameters:,}", tell_error(candidate.error, numbers.start.metric)]
