"""The page of a comparison: what it says, that it stands alone, and the Markdown table beside it."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from html import unescape

import pytest

import equimorph.reports
from equimorph.errors import RunFolderError
from equimorph.reports.comparison import compare, write_rows
from equimorph.reports.comparison.words import tell_headline, tell_warnings

HOSTILE = "evolutionary<img src=https://evil.example onerror=alert(1)></script><!--&\"'%{x}|`*"
HEADINGS = ["Test errors", "Error against size", "Error against cost", "What the searches gain or lose"]


@pytest.fixture
def make(tmp_path):
    def write(rows):
        write_rows(tmp_path / "comparison.csv", rows)
        return equimorph.reports.write_comparison(tmp_path)

    return write


def show(path):
    """The text of a page without its scripts and its style."""
    page = re.sub(r"<(script|style)\b.*?</\1>", " ", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", page)).split()).replace("\xa0", " ")


def test_page_and_table_lie_beside_the_file(make, compared, tmp_path):
    assert make(compared) == tmp_path / "report.html"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["comparison.csv", "report.html", "table.md"]


def test_the_first_screen_tells_the_result(make, compared):
    text = show(make(compared))
    for said in (
        "digits · group D4 · 8 convolutions · 3 strategies · seeds 0 to 4 · 1,000 test images",
        "evolutionary has the least mean test error, 4.94 ± 0.30 % over 5 seeds; its lead over static:C4 is not clear, "
        "for the 95 % interval holds 0.",
        "evolutionary minus static:C4, on the 5 seeds of both: −0.06 percentage points, 95 % interval −0.25 to +0.13, "
        "p = 0.",
    ):
        assert said in text


def test_the_page_lists_every_strategy(make, compared):
    text = show(make(compared))
    assert "evolutionary 5 D4, C4 ×7 1,500 4.94 ± 0.30 % 4.94 ± 0.30 % 4.0 × 1.5 min" in text
    assert "1 × is 6,000 training samples, those of the cheapest" in text


def test_the_page_has_its_figures_and_their_data(make, compared):
    page = make(compared).read_text(encoding="utf-8")
    assert all(f">{heading}</h2>" in page for heading in HEADINGS)
    holders = re.findall(r'class="plot" id="(\w+)"', page)
    assert holders == ["errors", "size", "cost", "differences"]
    assert re.findall(r'type="application/json" id="(\w+)-data"', page) == holders


def test_the_page_tells_verdicts_and_every_pair(make, compared):
    text = show(make(compared))
    assert re.search(r"evolutionary static:C4 5 −0\.06 −0\.25 to \+0\.13 0\.\d{3} 0\.\d{3} 0\.\d{3} no regret", text)
    assert re.search(r"evolutionary static:C1 5 −4\.06 −\d\.\d\d to −\d\.\d\d .{0,40} 0\.062 better", text)
    assert "row − column evolutionary static:C4 static:C1" in text
    assert "corrected by Holm for 3 pairs" in text
    assert "With 5 seeds p (Wilcoxon) cannot be below 0.062." in text


def test_the_page_loads_nothing(make, compared):
    page = make(compared).read_text(encoding="utf-8")
    policy = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
    assert f'<meta http-equiv="Content-Security-Policy" content="{policy}">' in page
    shell = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
    assert not re.search(r"\b(src|href)=", shell)


def test_hostile_names_stay_text(make, row):
    rows = [row(HOSTILE, seed, 0.1 + seed / 100, data=HOSTILE, network=HOSTILE, group=HOSTILE) for seed in range(2)]
    rows += [row("b", seed, 0.2, data=HOSTILE, network=HOSTILE, group=HOSTILE) for seed in range(3)]
    rows += [row(f"{HOSTILE}2", 0, None, architecture=HOSTILE, data=HOSTILE, network=HOSTILE, group=HOSTILE)]
    path = make(rows)
    shell = re.sub(r"<script>.*?</script>", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert "<img" not in shell
    assert "<!--" not in shell
    data = re.findall(r'<script type="application/json" id="\w+-data">(.*?)</script>', shell)
    assert len(data) == 4
    assert not any("<" in figure for figure in data)
    assert HOSTILE in show(path)
    table = path.with_name("table.md").read_text(encoding="utf-8")
    assert "<" not in table
    bars = [
        {len(re.findall(r"(?<!\\)\|", line)) for line in part.splitlines()}
        for part in table.split("\n\n")
        if part.startswith("|")
    ]
    assert bars == [{9}, {10}]


@pytest.mark.parametrize(
    ("metric", "name", "meaning"),
    [
        ("balanced-error", "1 − balanced accuracy", "Errors here are 1 − balanced accuracy, the mean recall"),
        ("auroc-error", "1 − AUROC", "Errors here are 1 − AUROC, the area under the ROC curve"),
        ("pixel-error", "share of pixels", "Errors here are shares of the pixels of all samples"),
    ],
)
def test_another_metric_is_told_wherever_its_errors_are(make, compared, metric, name, meaning):
    path = make([replace(row, metric=metric) for row in compared])
    page, text = path.read_text(encoding="utf-8"), show(path)
    assert f"has the least mean test error ({name}), 4.94 ± 0.30 %" in text
    before_table, _, table = text.partition("The strategies ")
    assert meaning in before_table
    assert meaning in table
    markdown = path.with_name("table.md").read_text(encoding="utf-8")
    assert meaning[:30] in markdown
    assert "<" not in markdown
    figures = re.findall(r'<script type="application/json" id="\w+-data">(.*?)</script>', page)
    titles = [
        axis.get("title", {}).get("text", "")
        for figure in figures[:3]
        for key, axis in json.loads(figure)["layout"].items()
        if re.fullmatch(r"[xy]axis2?", key)
    ]
    assert [unescape(title) for title in titles].count(f"test error ({name}, %)") == 4


@pytest.mark.parametrize(
    ("metric", "name", "meaning"),
    [
        ("loss", "mean loss", "Errors here are the mean of the loss"),
        ("own", "by the run's own metric", "Errors here are what the run's own metric gave"),
        (HOSTILE, f"by {HOSTILE}", f'Errors here are those of the metric "{HOSTILE}".'),
    ],
)
def test_errors_that_are_no_shares_are_told_as_plain_numbers_everywhere(make, compared, metric, name, meaning):
    path = make([replace(row, metric=metric) for row in compared])
    page, text = path.read_text(encoding="utf-8"), show(path)
    markdown = path.with_name("table.md").read_text(encoding="utf-8")
    assert re.search(rf"has the least mean test error \({re.escape(name)}\), 0\.0494 ± 0\.003\d* over", text)
    assert meaning in text and meaning[:30] in markdown and "<" not in markdown
    figures = re.findall(r'<script type="application/json" id="\w+-data">(.*?)</script>', page)
    for told in (text.split("Made by equimorph")[0], markdown, *figures):
        assert not re.findall(r"\d\W?%|\d points|percentage|[Nn]o regret", told.replace("95 %", ""))
    hovers = [told for figure in figures for trace in json.loads(figure)["data"] for told in trace.get("hovertext", ())]
    errors = [told for told in hovers if "test error" in told]
    assert errors and all(f"test error ({name})" in unescape(told) for told in errors)
    axes = [axis for figure in figures for key, axis in json.loads(figure)["layout"].items() if "axis" in key]
    titles = {unescape(axis.get("title", {}).get("text", "")) for axis in axes}
    assert titles >= {"difference of test error", f"test error ({name})"}


def test_shares_of_samples_need_no_explanation(make, compared):
    path = make(compared)
    assert "Errors here" not in show(path)
    assert "Errors here" not in path.with_name("table.md").read_text(encoding="utf-8")
    assert '"test error (%)"' in path.read_text(encoding="utf-8")


def against_others(rows):
    """Each search with each strategy that is none."""
    comparison = compare(rows)
    others = [each for each in comparison.strategies if not each.is_search]
    return [(search.name, other.name) for search in comparison.searches for other in others]


def test_the_markdown_table_is_in_the_page_and_beside_it(make, compared):
    path = make(compared)
    table = path.with_name("table.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"<pre>(.*?)</pre>", path.read_text(encoding="utf-8"), re.DOTALL)
    assert unescape(shown) == table
    strategies, _, verdicts, *_ = table.split("\n\n")
    assert verdicts.splitlines()[0].startswith("| search | against | seeds | difference | 95 % interval |")
    assert len(verdicts.splitlines()) == 2 + len(against_others(compared))
    head, rule, *rows = strategies.splitlines()
    assert head.startswith("| strategy | runs | architecture | parameters | validation error | test error |")
    assert rule.count("---") == 8
    assert rows[2] == ("| evolutionary | 5 | D4, C4 ×7 | 1,500 | 4.94 ± 0.30 % | 4.94 ± 0.30 % | 4.0 × | 1.5 min |")


def test_a_clear_lead_is_told(compared):
    rows = [row for row in compared if row.strategy != "static:C4"]
    assert "its lead over static:C1 is clear, for the 95 % interval leaves out 0." in tell_headline(compare(rows))


def test_one_seed_tells_no_strategies_apart(make, row):
    text = show(make([row("evolutionary", 0, 0.1), row("static:C4", 0, 0.2)]))
    assert "10.00 % with one seed; one seed cannot tell it from static:C4." in text
    assert "Only one seed: there are no intervals." in text
    assert "±" not in text.split("Mean ±")[0]


def test_equal_strategies_are_told_as_equal(row):
    rows = [row(name, seed, 0.1) for name in ("a", "b") for seed in (0, 1)]
    assert (
        tell_headline(compare(rows)) == "a has the least mean test error, 10.00 ± 0.00 % over 2 seeds; b has the same."
    )


def test_a_lead_that_the_common_seeds_deny_is_not_claimed(row):
    rows = [row("a", seed, error) for seed, error in enumerate((0.20, 0.21, 0.02, 0.02))]
    rows += [row("b", seed, error) for seed, error in enumerate((0.19, 0.20))]
    assert tell_headline(compare(rows)).endswith("but on the seeds that both have, b does better.")


def test_strategies_without_a_common_seed_are_not_told_apart(row):
    headline = tell_headline(compare([row("a", 0, 0.1), row("b", 1, 0.2)]))
    assert headline.endswith("it shares no seed with the next, b, so the two cannot be compared.")


def test_a_single_strategy_has_a_page_without_pairs(make, row):
    text = show(make([row("static:C4", 0, 0.1), row("static:C4", 1, 0.2)]))
    assert "static:C4 has a mean test error of 15.00 ± 7.07 % over 2 seeds." in text
    assert "Every two strategies" not in text


def test_a_comparison_in_which_all_diverged_has_a_page(make, row):
    text = show(make([row("evolutionary", 0, None, validation_error=None), row("static:C4", 0, None)]))
    assert "No run has a test error yet." in text
    assert "evolutionary diverged with seed 0" in text
    assert "Error against" not in text


def test_missing_seeds_are_told(make, compared):
    text = show(make(compared[:-2]))
    assert "The comparison is not finished: evolutionary lacks seeds 3 and 4." in text
    assert "evolutionary so far has the least mean test error" in text


def test_a_finished_comparison_of_five_seeds_has_no_warning(compared):
    assert tell_warnings(compare(compared)) == []


def test_few_seeds_are_told(compared):
    (warning,) = tell_warnings(compare([row for row in compared if row.seed < 4]))
    assert warning.startswith("Few seeds (4): intervals are wide.")


def test_a_diverged_run_is_told(make, compared, row):
    compared[0] = row("static:C1", 0, None)
    text = show(make(compared))
    assert "static:C1 diverged with seed 0; its numbers leave that out, which flatters it." in text
    assert "static:C1 4, 1 diverged" in text


def test_two_pages_of_one_comparison_are_equal(make, compared):
    assert make(compared).read_text() == make(compared).read_text()


def test_a_folder_without_the_file_gets_no_page(tmp_path):
    with pytest.raises(RunFolderError, match=r"no file .*comparison\.csv"):
        equimorph.reports.write_comparison(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_a_file_without_rows_gets_no_page(make):
    with pytest.raises(RunFolderError, match="has no rows yet"):
        make([])


def test_importing_the_comparison_imports_neither_plotly_nor_scipy_stats():
    code = "import sys, equimorph.reports.comparison; sys.exit(bool({'plotly', 'scipy.stats'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
