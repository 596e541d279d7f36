"""The page of a run: what it says, and that it stands alone."""

import re
import subprocess
import sys
from html import unescape
from html.parser import HTMLParser

import pytest

import equimorph.reports
from equimorph.errors import RunFolderError

HEADINGS = ["Error against size", "Which layer kept", "Family tree", "Learning curves"]
# What a page is made of, whatever its labels hold.
_TAGS = "html head meta title style body header main footer section details summary script div span p pre b i em small"
_TAGS += " h1 h2 ol ul li dl dt dd figure figcaption table caption thead tbody tr th td"
ELEMENTS = set(re.findall(r"\w+", _TAGS))
# Elements and attributes by which a page loads something.
LOADING = {"src", "href", "srcset", "data", "action", "poster", "background", "formaction", "manifest", "ping"}


class Reader(HTMLParser):
    """The elements of a page, the text that is shown, and the contents of its scripts."""

    def __init__(self, page):
        super().__init__()
        self.elements = []
        self.shown = []
        self.scripts = []
        self.open = None
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self.open = tag

    def handle_endtag(self, tag):
        self.open = None

    def handle_data(self, data):
        if self.open == "script":
            self.scripts.append(data)
        elif self.open != "style":
            self.shown.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.shown))


def read(run):
    return Reader(equimorph.reports.write(run.write()).read_text(encoding="utf-8"))


def test_the_page_lies_in_the_run_folder(finished_run):
    folder = finished_run.write()
    path = equimorph.reports.write(str(folder))
    assert path == folder / "report.html"
    assert path.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_the_first_screen_tells_the_result(finished_run):
    text = read(finished_run).text
    for said in (
        "Layer 1 keeps D4, layer 2 keeps C4, and the head keeps C1.",
        "held to no symmetry",
        "D4 quarter turns and mirrors",
        "C4 quarter turns",
        "C1 no symmetry",
        "Test error 12.00 % ± 3.25 on 100 test images; 10.00 % in validation",
        "Parameters 200 2.00 × the 100 of the start, D4 in every layer",
        "Architectures tried 5 7 candidates in 2 generations, 1 diverged",
        "Cost 2.0 × one full training of one network: 1,600 training samples, 1.5 min",
    ):
        assert said in text


def test_the_page_has_four_figures_with_captions(finished_run):
    page = read(finished_run)
    assert all(heading in page.text for heading in HEADINGS)
    assert [tag for tag, _ in page.elements].count("figcaption") == 4
    holders = [attributes["id"] for tag, attributes in page.elements if attributes.get("class") == "plot"]
    data = [attributes["id"] for tag, attributes in page.elements if attributes.get("type") == "application/json"]
    assert data == [f"{holder}-data" for holder in holders]


def test_the_page_lists_the_front(finished_run):
    text = read(finished_run).text.replace("\xa0", " ")
    assert (
        "candidate architecture parameters validation error 4 D4 ×2, C1 150 15.00 % 5 · best D4, C4, C1 200 10.00 %"
        in text
    )


def test_the_page_holds_settings_and_environment(finished_run):
    text = read(finished_run).text
    assert "Settings strategy: evolutionary" in text
    assert "torch 2.11.0 machine.cores 2 command equimorph search" in text


def test_the_page_loads_nothing(finished_run):
    page = read(finished_run)
    assert not {tag for tag, _ in page.elements} & {
        "link",
        "img",
        "iframe",
        "object",
        "embed",
        "base",
        "video",
        "audio",
    }
    assert not [name for _, attributes in page.elements for name in attributes if name in LOADING]
    policy = next(attributes["content"] for _, attributes in page.elements if "http-equiv" in attributes)
    assert policy.startswith("default-src 'none'")
    assert "http" not in policy
    own = "".join(script for script in page.scripts if "plotly.js v" not in script[:200])
    assert "http:" not in own
    assert "https:" not in own
    assert "url(" not in equimorph.reports.style.STYLE_SHEET


def test_plotly_is_in_the_page_once(finished_run):
    assert sum("plotly.js v" in script[:200] for script in read(finished_run).scripts) == 1


def test_hostile_labels_stay_text(hostile_run):
    page = read(hostile_run)
    assert {tag for tag, _ in page.elements} <= ELEMENTS
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert "<img src=https://evil.example onerror=alert(1)></script><!--&\"'%{x}" in page.text
    data = [script for script in page.scripts if script.startswith('{"data"')]
    assert len(data) == 4
    assert not any("<" in script for script in data)


def test_a_folder_name_is_escaped(static_run):
    static_run.path = static_run.path.with_name("<i>run")
    assert "<i>run" in read(static_run).text


def test_an_unfinished_run_says_so_and_shows_the_state(unfinished_run):
    text = read(unfinished_run).text
    assert "The run did not reach its end." in text
    assert "in generation 2 of 2" in text
    assert "Layers 1 and 2 keep D4, and the head keeps C1." in text
    assert "Validation error 20.00 %" in text
    assert "Test error" not in text


def test_a_diverged_first_network_is_told_as_the_reason(empty_run):
    empty_run.start()
    empty_run.diverged(0, None, 0, ["D4"] * 3, step=77)
    text = read(empty_run).text
    assert "The run did not reach its end." in text
    assert "first network diverged at step 78" in text
    assert "Test error – not measured" in text


def test_a_run_that_has_only_begun_has_a_page(empty_run):
    empty_run.start()
    page = read(empty_run)
    assert "The run did not reach its end." in page.text
    assert "figure" not in {tag for tag, _ in page.elements}


def test_a_run_with_one_candidate_shows_what_there_is_to_see(static_run):
    text = read(static_run).text
    assert "Every layer keeps D4." in text
    assert "Architectures tried 1 one network, trained as it was given" in text
    assert "Every layer kept its group from beginning to end." in text
    assert not any(word in text for word in ("The front", "relax"))
    assert "the architecture that the run began with" in text
    assert [heading in text for heading in HEADINGS] == [False, True, False, True]


def test_a_run_whose_best_is_a_mixture_says_so_first(mixture_run):
    text = read(mixture_run).text
    for said in (
        "Layers 1 and 2 are mostly D4 (0.62 to 0.75), and the head leans to C4 (0.50).",
        "The mixture as a whole is held to no symmetry; it leans to D4, whose mean share is 0.54.",
        "D4 0.75 1 D4 0.62 2 C4 0.50 head",
        "D4 quarter turns and mirrors C4 quarter turns C1 no symmetry",
        "Parameters 400 of all members of the mixture together",
        "Groups mixed 3 D4, C4, C1 in each of 3 layers, trained as one network ",
        "What each layer leaned to",
    ):
        assert said in text
    assert "keep" not in text
    assert not any(heading in text for heading in HEADINGS[:3])


def test_a_run_that_discretised_its_mixture_tells_both(discretised_run):
    text = read(discretised_run).text
    for said in (
        "Layers 1 and 2 keep D4, and the head keeps C4.",
        "Before the mixture was discretised at epoch 4, at the dashed line, layers 1 and 2 were mostly D4",
        "Parameters 100 0.25 × the 400 of the mixture",
        "trained as one network; then one group for each",
        "the mixture became single groups, which is another function",
        "0 mixture mixture of D4, C4, C1 400 50.00 % 4 discretise D4 ×2, C4 100 20.00 %",
    ):
        assert said in text
    assert "relax" not in text
    assert not any(heading in text for heading in (*HEADINGS[:3], "The front", "Architectures tried"))


def test_a_mixture_that_was_trained_again_is_told_as_such(retrained_run):
    text = read(retrained_run).text
    assert "Layers 1 and 2 are mostly D4" in text
    assert "then trained anew with frozen weights" in text
    assert "The network was then trained once more from scratch, with the mixture weights frozen." in text
    assert "The strong line is the best network, trained once more from scratch" in text


def test_hostile_names_in_a_mixture_stay_text(hostile_run):
    hostile = "<img src=https://evil.example onerror=alert(1)></script><!--&\"'%{x}"
    shares = {f"block1.{hostile}": {"D4": 0.5, hostile: 0.5}, f"head.{hostile}": {"D4": 0.75, hostile: 0.25}}
    for candidate in (0, 1):
        hostile_run.mixture(candidate, 4 * candidate, shares)
    page = read(hostile_run)
    assert {tag for tag, _ in page.elements} <= ELEMENTS
    assert "What each layer leaned to" in page.text
    assert not any("<" in script for script in page.scripts if script.startswith('{"data"'))


def test_no_error_at_all_is_not_given_a_standard_error(static_run):
    static_run.events[-1]["test_error"] = 0.0
    text = read(static_run).text
    assert "Test error 0.00 % none of 100 test images wrong" in text
    assert "±" not in text


def test_a_result_without_a_test_error_says_so(static_run):
    static_run.events[-1]["test_error"] = None
    assert "no test error was measured" in read(static_run).text


def test_an_older_page_is_replaced(static_run):
    folder = static_run.write()
    (folder / "report.html").write_text("old")
    assert equimorph.reports.write(folder).read_text(encoding="utf-8") != "old"


def test_a_folder_that_is_no_run_gets_no_page(tmp_path):
    with pytest.raises(RunFolderError, match="is not a run folder"):
        equimorph.reports.write(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_two_pages_of_one_run_are_equal(finished_run):
    folder = finished_run.write()
    assert equimorph.reports.write(folder).read_text() == equimorph.reports.write(folder).read_text()


def test_importing_the_room_does_not_import_plotly():
    code = "import sys, equimorph.reports; sys.exit(any(name.split('.')[0] == 'plotly' for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_escaped_text_is_what_was_written(hostile_run):
    page = equimorph.reports.write(hostile_run.write()).read_text(encoding="utf-8")
    settings = re.search(r"<pre>(.*?)</pre>", page, re.DOTALL).group(1)
    assert unescape(settings) == hostile_run.config
