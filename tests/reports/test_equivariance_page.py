import itertools
import math
import re
from dataclasses import replace

import pytest
import torch
from torch import nn

import equimorph as em
from equimorph.errors import DataError
from equimorph.inspection import Audit, AuditRow
from equimorph.layers import Conv2d
from equimorph.reports.equivariance import read_audit, write
from equimorph.reports.equivariance.figure import draw_errors
from equimorph.reports.equivariance.page import make_page
from equimorph.reports.equivariance.words import tell_headline, tell_relative, tell_rest, tell_unknown

HOSTILE = "<script>alert(1)</script>&%{x}"
D4 = em.group("D4")
C4 = D4.subgroup("C4")
TOLERANCE = 1e-9


def small(*, subgroup="D4", stride=1):
    return nn.Sequential(
        Conv2d(1, 2, 3, group="D4", source="trivial", padding=1),
        nn.ReLU(),
        Conv2d(2, 2, 3, group="D4", subgroup=subgroup, padding=1, stride=stride),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )


def made(rows, output, *, unknown=(), group=D4):
    """An audit with these rows; errors are one number for all elements, or one for each."""
    elements = tuple(range(group.order))
    return Audit(group, elements, tuple(rows), TOLERANCE, by_element(output, elements), tuple(unknown))


def by_element(errors, elements=range(8)):
    return dict(zip(elements, errors if isinstance(errors, list) else [errors] * len(elements), strict=True))


def made_row(name, errors, own, *, constraint=None, reason="", remedy=""):
    return AuditRow(name, name, "Conv2d", (2, 8, 4, 4), constraint, by_element(errors), by_element(own), reason, remedy)


def outside(subgroup, error):
    """This error for all elements but those of a subgroup, in the order of D4."""
    return [1e-15 if element in subgroup else error for element in range(8)]


RELAXED = made_row("b", outside(C4, 0.5), outside(C4, 0.5), constraint="C4", reason="it is constrained to C4 alone")
GOOD = made_row("a", 1e-15, 1e-15, constraint="D4")
STRIDE = made_row(
    "c", 0.3, [1e-15] + [0.2] * 7, constraint="D4", reason="stride 2 against size 16: windows leave 1", remedy="take 15"
)


@pytest.fixture(scope="module")
def exact():
    return em.audit(small(), torch.randn(2, 1, 8, 8))


def test_an_exact_network_is_told_with_its_elements_and_its_error(exact):
    numbers = read_audit(exact)
    assert (numbers.outcome, numbers.kept) == ("exact", tuple(range(8)))
    told = tell_headline(numbers)
    assert re.fullmatch(r"The network commutes with all 8 elements of D4 \(largest error \de-1\d\)\.", told)
    assert tell_rest(numbers) == tell_unknown(numbers) == ""


def test_a_stride_that_does_not_fit_is_named_with_reason_and_remedy():
    numbers = read_audit(em.audit(small(stride=2), torch.randn(2, 1, 8, 8)))
    assert numbers.outcome == "broken"
    assert 'first at layer "2" (stride 2 against size 8)' in tell_headline(numbers)
    assert "Windows of 3 with padding 1" in tell_rest(numbers)
    assert "What to try: take images of" in tell_rest(numbers)


def test_a_relaxed_layer_is_no_fault_and_what_all_layers_keep_is_told():
    numbers = read_audit(em.audit(small(subgroup="C4"), torch.randn(2, 1, 8, 8)))
    assert (numbers.outcome, numbers.common) == ("relaxed", C4)
    assert set(numbers.kept) == {element for element in range(8) if element in C4}
    assert "commutes with all 4 elements of C4, which every layer keeps" in tell_headline(numbers)
    rest = tell_rest(numbers, chosen=True)
    assert "lost where the search relaxed layers" in rest and "constrained to C4, as the search chose" in rest
    assert "search" not in tell_rest(numbers)
    page = make_page(numbers, title="net", chosen=True)
    assert "em.constrain it" not in page


def test_layers_with_no_symmetry_in_common_keep_the_identity_alone():
    flips = D4.subgroup("D1")
    other = made_row("d", outside(flips, 0.5), outside(flips, 0.5), constraint="D1@90", reason="it is constrained")
    numbers = read_audit(made([GOOD, RELAXED, other], [1e-15] + [0.5] * 7))
    assert (numbers.outcome, numbers.common.order) == ("relaxed", 1)
    assert tell_headline(numbers) == "No element of D4 but the identity is kept by every layer."
    assert "The output commutes" not in tell_rest(numbers)
    half = D4.subgroup("C2")
    by_chance = read_audit(made([GOOD, RELAXED, other], outside(half, 0.5)))
    assert "The output commutes with 2 of 8 elements, C2" in tell_rest(by_chance)


def test_a_break_stands_before_what_was_relaxed_and_both_are_told():
    numbers = read_audit(made([GOOD, RELAXED, STRIDE], [1e-15] + [0.5] * 7))
    assert numbers.outcome == "broken"
    assert [[call.row.name for call in calls] for calls in (numbers.broken, numbers.relaxed)] == [["c"], ["b"]]
    assert "first at c (stride 2 against size 16)" in tell_headline(numbers)
    rest = tell_rest(numbers, chosen=True)
    assert "Windows leave 1. What to try: take 15." in rest
    assert "Besides, 1 call keeps a smaller group, first b (constrained to C4, as the search chose)" in rest


def test_a_constrained_layer_that_fails_within_its_group_is_a_break():
    row = replace(RELAXED, own=by_element(0.1), reason="its padding")
    assert read_audit(made([row], 0.1)).calls[0].kind == "broken"


def test_an_error_of_common_elements_without_a_cause_is_not_called_relaxed():
    numbers = read_audit(made([GOOD, RELAXED], 0.5, unknown=["fft"]))
    assert numbers.outcome == "unexplained"
    assert "no call that was measured breaks it" in tell_headline(numbers)
    assert "behind fft" in tell_rest(numbers)


def test_what_breaks_inside_and_does_not_reach_the_output_is_told():
    numbers = read_audit(made([STRIDE], 1e-15))
    assert numbers.outcome == "exact"
    assert "1 call does not commute, first c" in tell_rest(numbers) and "not reach the output" in tell_rest(numbers)


def test_a_subgroup_that_was_tried_alone_is_named():
    chosen = [element for element in range(8) if element in C4]
    numbers = read_audit(em.audit(small(), torch.randn(2, 1, 8, 8), elements=chosen))
    assert "all 4 elements of C4, the only ones of D4 that were tried" in tell_headline(numbers)


def test_without_rows_the_output_alone_is_told():
    numbers = read_audit(made([], 1e-15))
    assert "only the output was" in tell_unknown(numbers)
    assert 'class="plot"' not in make_page(numbers, title="empty")


def test_unknown_calls_are_a_notice():
    numbers = read_audit(made([GOOD], 1e-15, unknown=["fft", "sort", "head", "tail", "end"]))
    assert "Behind fft, sort, head and 2 more it is not known" in make_page(numbers, title="net")


@pytest.mark.parametrize("bad", [math.inf, math.nan])
def test_errors_that_are_not_finite_are_loss_and_not_lost(bad):
    numbers = read_audit(made([made_row("a", [0.0] * 7 + [bad], [0.0] * 7 + [bad], reason="it")], [0.0] * 7 + [bad]))
    assert (numbers.outcome, numbers.calls[0].error) == ("broken", math.inf)
    assert numbers.levels[0][7] == numbers.levels[1][7] == 0.0
    page = make_page(numbers, title="net")
    assert "not finite" in page and not re.search(r"\bnan\b", page[: page.index("<script>")])


def test_levels_are_logarithms_between_rounding_and_one():
    numbers = read_audit(made([made_row("a", [0.0, 1e-30, 1e-16, 1e-9, 1e-3, 1.0, 7.0, 0.1], 0.0)], 1e-12))
    expected = [-16, -16, -16, -9, -3, 0, 0, -1]
    assert numbers.levels[0] == pytest.approx(expected) and numbers.levels[1] == pytest.approx([-12] * 8)


def test_the_figure_has_a_row_for_each_call_and_marks_where_errors_arise():
    numbers = read_audit(made([GOOD, RELAXED, STRIDE], [1e-15] + [0.5] * 7))
    heat, breaks, relaxed = draw_errors(numbers, chosen=True).data
    assert [list(row) for row in heat.z] == [list(row) for row in numbers.levels]
    assert list(zip(breaks.x, breaks.y, strict=True)) == [(element, 3) for element in range(1, 8)]
    assert set(zip(relaxed.x, relaxed.y, strict=True)) == {(e, 2) for e in range(8) if e not in C4}
    assert "turned by 180°" in heat.hovertext[2][3] and "take 15" in heat.hovertext[2][3]
    assert "take 15" not in heat.hovertext[2][0]
    assert "as the search chose" in relaxed.name


def test_two_hundred_calls_fit_a_page_and_their_labels_do_not_meet():
    numbers = read_audit(made([replace(GOOD, name=f"layers.{n}", path=f"layers.{n}") for n in range(200)], 1e-15))
    figure = draw_errors(numbers)
    plot = figure.layout.height - figure.layout.margin.t - figure.layout.margin.b
    places = figure.layout.yaxis.tickvals[:-1]
    between = min(after - before for before, after in itertools.pairwise(places))
    assert between * plot / 201 >= 14 and figure.layout.height < 2000
    page = make_page(numbers, title="deep")
    assert page.count("<tr><td>layers.") == 200


def test_forty_eight_elements_have_a_column_each():
    Oh = em.group("Oh", dim=3)
    elements = tuple(range(48))
    row = AuditRow("a", "a", "Conv3d", (2, 1, 4, 4, 4), "Oh", by_element(0.0, elements), by_element(0.0, elements))
    figure = draw_errors(read_audit(made([row], 0.0, group=Oh)))
    assert len(set(figure.layout.xaxis.ticktext)) == 48


def test_the_page_loads_nothing_escapes_names_and_is_written(exact, tmp_path):
    rows = [replace(exact.rows[0], name=HOSTILE, kind=HOSTILE, reason=HOSTILE, remedy=HOSTILE, own=by_element(0.5))]
    hostile = replace(exact, rows=tuple(rows), unknown=(HOSTILE,), output_errors=by_element(0.5))
    path = write(hostile, tmp_path / "new" / "audit.html", title=HOSTILE, about=HOSTILE)
    page = path.read_text(encoding="utf-8")
    assert "<script>alert" not in page
    body = page[: page.index("<script>")]
    assert "default-src 'none'" in body and not re.search(r'(src|href)="(?!data:)', body)


def test_a_page_that_cannot_be_written_is_told(exact, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        write(exact, tmp_path / "file" / "audit.html", title="net")


def test_the_table_says_in_words_which_elements_are_lost():
    flip = next(element for element in range(8) if D4.subgroup_generated_by([element]).name == "D1@90")
    own = [0.5 if element == flip else 0.0 for element in range(8)]
    page = make_page(read_audit(made([made_row("a", own, own, reason="positional input")], own)), title="net")
    assert "positional input (lost: flipped left-right)" in page and '<tr class="best"><td>a' in page


def test_numbers_are_told_in_a_few_signs():
    assert [tell_relative(e) for e in (3.1e-17, 0.00123, 12.5)] == ["3e-17", "0.0012", "12"]
