"""The page of a data set: what it counts and draws, what it says of every element, and that it stands alone."""

import os
import re
from html import unescape
from pathlib import Path

import numpy as np
import pytest
import torch

import equimorph as em
from equimorph.data import DataNotes, ImageData, Split
from equimorph.errors import ConfigurationError, DataError
from equimorph.groups import group
from equimorph.layers.features import transform
from equimorph.reports.dataset.moves import tell_move
from equimorph.reports.dataset.show_figure import draw_balance
from equimorph.reports.dataset.show_numbers import MOST_ELEMENTS, SPLITS, choose_elements, is_mirror, make_show
from equimorph.reports.dataset.show_page import make_page, write_show
from equimorph.reports.dataset.show_words import tell_balance, tell_hidden, tell_orbit, tell_orbits

HOSTILE = "<img src=https://evil.example onerror=alert(1)></script><!--&\"'%{x}"


def made(*, dim=2, channels=1, classes=("cat", "dog", "eel"), side=6, dtype=torch.uint8, **changes):
    """Of class 0 as many training samples as there are classes, of the last one; bytes, or numbers around 0."""
    generator = torch.Generator().manual_seed(0)
    num = len(classes)
    y = torch.cat([torch.full((num - label,), label) for label in range(num)])
    shape = (len(y), channels, *[side] * dim)
    x = torch.randint(256, shape, generator=generator, dtype=torch.uint8)
    split = Split(x if dtype == torch.uint8 else x.to(dtype) / 128 - 1, y)
    few = split.part(torch.arange(2))
    notes = changes.pop("notes", None)
    return ImageData.from_splits(changes.pop("name", "pets"), split, few, split, classes=classes, notes=notes)


def shown(data=None, name="D4", **changes):
    data = data or made()
    return make_show(data, group(name, dim=data.dim), **({"per_class": 2, "about": {}} | changes))


def text_of(page):
    """The text of a page without its scripts and its style."""
    page = re.sub(r"<(script|style)\b.*?</\1>", " ", page, flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", page)).split())


def body_of(page):
    return page[: page.index("<script>")]  # what follows is Plotly's own code


def test_the_page_says_what_the_data_are(tmp_path):
    notes = DataNotes("by patient", {"turned by EXIF": 12}, {"unreadable": 2, "no label": 1500})
    path = tmp_path / "show.html"
    data = made(notes=notes, channels=3)
    assert write_show(data, group("D4"), path, about={"licence": "CC BY 4.0"}) == path
    text = text_of(path.read_text(encoding="utf-8"))
    for said in (
        "pets: 14 RGB images of 6 × 6, in 3 classes",
        "Train 6 43 % of all",
        "Sample 6 × 6 3 channels",
        "licence CC BY 4.0",
        "Of “cat” there are 3 training samples, 3 times as many, and of “eel” 1.",
        "cat 3 (50.0 %) 2 (100.0 %) 3 (50.0 %)",
        "eel 1 (16.7 %) 0 (0.0 %) 1 (16.7 %)",
        f"0 {data.mean[0]:.4g} {data.std[0]:.4g}",
        "Divided: by patient.",
        "turned by EXIF 12",
        "Left out: 1,502 in all. reason samples unreadable 2 no label 1,500",
    ):
        assert said in text


def test_what_is_not_known_has_no_section():
    text = text_of(make_page(shown()))
    for unsaid in ("About the data", "How it was put together", "not shown", "multiplied"):
        assert unsaid not in text


def test_bars_are_counts_and_shares_of_each_split():
    show = shown()
    figure = draw_balance(show)
    assert [bar.name for bar in figure.data] == list(SPLITS)
    assert show.counts == {"train": (3, 2, 1), "validation": (2, 0, 0), "test": (3, 2, 1)}
    for bar in figure.data:
        assert list(bar.x) == [100 * share for share in show.shares(bar.name)]
        assert list(bar.text) == [str(count) for count in show.counts[bar.name]]
        assert sum(bar.x) == pytest.approx(100)


@pytest.mark.parametrize("num", [2, 12, 30, 100])
def test_every_class_has_its_row_in_the_figure(num):
    figure = draw_balance(shown(made(classes=tuple(f"a class of number {index}" for index in range(num)), side=2)))
    assert len(set(figure.layout.yaxis.ticktext)) == num
    assert figure.layout.height >= 20 * num
    assert (figure.data[0].text is None) == (num > 30)


def test_samples_are_drawn_from_their_class_and_always_the_same():
    data = made()
    state = torch.get_rng_state()
    show = shown(data)
    assert torch.equal(torch.get_rng_state(), state)
    assert [len(rows) for rows in show.drawn] == [2, 2, 1]
    assert all(len(set(rows)) == len(rows) for rows in show.drawn)
    assert all(data.train.y[row] == label for label, rows in enumerate(show.drawn) for row in rows)
    assert shown(data).drawn == show.drawn
    assert make_page(show) == make_page(shown(data))


def test_of_many_classes_the_rest_is_told():
    show = shown(made(classes=tuple(f"class {index}" for index in range(33)), side=2), per_class=1)
    assert tell_hidden(show) == "The first 30 of 33 classes; 3 are not shown."
    assert len(show.drawn) == 30
    assert len(show.orbits) == 8
    assert tell_orbits(show).startswith("One training sample of 8 of the 33 classes each, moved by every element")
    assert body_of(make_page(show)).count('class="sample"') == 30 + 8 * 8


def test_a_class_without_training_samples_is_told():
    split = Split(torch.zeros(2, 1, 4, 4), torch.tensor([0, 0]))
    show = shown(ImageData.from_splits("half", split, split, split, classes=("a", "b")))
    assert "b none in training" in text_of(make_page(show))
    assert [orbit.label for orbit in show.orbits] == [0]
    assert tell_balance(show) == "Of “a” there are 2 training samples, and of “b” 0."


@pytest.mark.parametrize("name", ["C1", "C2", "C4", "D1", "D2", "D4"])
def test_a_group_of_the_plane_is_shown_whole(name):
    chosen = choose_elements(group(name))
    assert chosen == tuple(range(group(name).order))


@pytest.mark.parametrize("name", ["Oh", "O", "Th", "Td", "D4h", "C4v", "C1"])
def test_of_a_large_group_every_kind_is_shown(name):
    whole = group(name, dim=3)
    chosen = choose_elements(whole)
    assert len(set(chosen)) == len(chosen) == min(MOST_ELEMENTS, whole.order)
    assert chosen[0] == 0
    conjugates = [set(whole.table[whole.table[:, h], whole.inverses].tolist()) for h in range(whole.order)]
    assert all(members & set(chosen) for members in conjugates)
    mirrors = [is_mirror(whole, h) for h in chosen]
    assert mirrors == sorted(mirrors)


@pytest.mark.parametrize(("name", "dim"), [("Z2", 1), ("D4", 2), ("Oh", 3)])
def test_every_element_has_words_of_its_own(name, dim):
    whole = group(name, dim=dim)
    assert len({tell_move(whole, h) for h in range(whole.order)}) == whole.order
    assert tell_move(whole, 0) == "as it is"


def test_a_turn_about_z_takes_x_to_y():
    whole = group("Oh")
    (turn,) = (h for h in range(48) if tell_move(whole, h) == "turned by 90° about z")
    assert whole.elements[turn].tolist() == [[0, -1, 0], [1, 0, 0], [0, 0, 1]]
    volume = torch.zeros(1, 1, 3, 3, 3)
    volume[0, 0, 2, 1, 1] = 1
    assert transform(volume, turn, whole, "trivial")[0, 0, 1, 2, 1] == 1


@pytest.mark.parametrize("h", range(48))
def test_the_words_of_a_volume_make_its_matrix(h):
    whole = group("Oh")
    told = tell_move(whole, h)
    matrix = np.eye(3)
    found = re.match(r"turned by (\d+)° about ([−xyz]+)", told)
    if found:
        parts = re.findall(r"(−?)([xyz])", found[2])
        axis = np.zeros(3)
        axis[["xyz".index(letter) for _, letter in parts]] = [-1 if sign else 1 for sign, _ in parts]
        (a, b, c), angle = axis / np.linalg.norm(axis), np.deg2rad(int(found[1]))
        cross = np.array([[0, -c, b], [c, 0, -a], [-b, a, 0]])
        matrix = matrix + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross  # Rodrigues
    elif told.startswith("mirrored along "):
        parts = re.findall(r"(−?)([xyz])", told.removeprefix("mirrored along "))
        normal = np.zeros(3)
        normal[["xyz".index(letter) for _, letter in parts]] = [-1 if sign else 1 for sign, _ in parts]
        matrix = matrix - 2 * np.outer(normal, normal) / (normal @ normal)
    if told.endswith("mirrored in the centre"):
        matrix = -matrix
    np.testing.assert_allclose(matrix, whole.elements[h], atol=1e-12)


def test_an_orbit_is_as_large_as_there_are_different_samples():
    x = torch.zeros(4, 1, 5, 5)
    x[0, 0, 2, 2] = 1  # kept by all eight
    x[1, 0, 0, 2] = 1  # by one mirror
    x[2, 0, 0, 1] = 1  # by nothing
    x[3, 0, 2] = 1  # by the half-turn and two mirrors
    split = Split(x, torch.arange(4))
    show = shown(ImageData.from_splits("dots", split, split, split, classes=tuple("abcd")))
    whole = show.group
    for orbit in show.orbits:
        images = {tuple(show.moved(orbit.row, h).flatten().tolist()) for h in range(8)}
        assert orbit.size == len(images)
        assert orbit.fixing == {h for h in range(8) if torch.equal(show.moved(orbit.row, h), show.sample(orbit.row))}
    assert [orbit.size for orbit in show.orbits] == [1, 4, 8, 2]
    assert tell_orbit(show.orbits[0], whole) == "always the same"
    page = body_of(make_page(show))
    assert page.count("<small>the same</small>") == 7 + 1 + 0 + 3


@pytest.mark.parametrize(
    ("dim", "name", "element", "views"), [(1, "Z2", "<svg", 1), (2, "D4", "<img", 1), (3, "Oh", "<img", 2)]
)
@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_signals_images_and_volumes_have_their_pictures(dim, name, element, views, channels, dtype):
    show = shown(made(dim=dim, channels=channels, dtype=dtype), name)
    page = body_of(make_page(show))
    moved = len(show.orbits) * len(show.elements)
    assert page.count(f'{element} class="sample"') == views * (5 + moved)
    assert ("Of the 5 channels the mean is shown." in page) == (dim > 1 and channels == 5)
    assert ("A volume has two pictures" in page) == (dim == 3)


def test_sides_that_differ_are_shown():
    split = Split(torch.rand(2, 1, 4, 9), torch.tensor([0, 1]))
    show = shown(ImageData.from_splits("long", split, split, split, classes=("a", "b")))
    assert "images of 4 × 9" in text_of(make_page(show))


def test_full_and_empty_cells_are_made_to_be_seen():
    x = torch.zeros(2, 1, 4, 4, 4, dtype=torch.uint8)
    x[:, :, 1] = 1
    split = Split(x, torch.tensor([0, 1]))
    show = shown(ImageData.from_splits("cells", split, split, split, classes=("a", "b")), "Oh")
    assert show.brightness == 255
    assert "Values are multiplied by 255 to be seen." in text_of(make_page(show))


def test_large_images_do_not_make_a_large_page():
    data = made(side=1200, classes=("a", "b"))
    assert len(body_of(make_page(shown(data)))) < 2_000_000


def test_hostile_texts_stay_text():
    notes = DataNotes(HOSTILE, {HOSTILE: 1}, {HOSTILE: 1})
    data = made(classes=(HOSTILE, "b"), name=HOSTILE, notes=notes)
    page = make_page(shown(data, about={HOSTILE: HOSTILE}))
    shell = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
    assert HOSTILE not in shell
    assert "evil.example onerror=alert(1)>" not in shell
    (figure,) = re.findall(r'<script type="application/json" id="\w+-data">(.*?)</script>', shell)
    assert "<" not in figure
    assert HOSTILE in text_of(shell)


def test_the_page_loads_nothing_from_elsewhere():
    body = body_of(make_page(shown()))
    assert "default-src 'none'" in body
    assert not re.search(r'(src|href)="(?!data:)', body)


def test_a_group_of_other_axes_is_refused(tmp_path):
    path = tmp_path / "show.html"
    with pytest.raises(DataError, match="Oh acts on 3 spatial axes and the samples of pets have 2"):
        write_show(made(), group("Oh"), path)
    with pytest.raises(ConfigurationError, match="per_class is 0"):
        write_show(made(), group("D4"), path, per_class=0)
    assert not path.exists()


@pytest.mark.shared_data
def test_galaxies_have_a_page(tmp_path):
    folder = Path(os.environ.get("EQUIMORPH_DATA") or Path(__file__).parents[2] / "../shared/data")
    try:
        data = em.data.load("galaxies-winding", folder)
    except DataError:
        pytest.skip(f"no galaxies in {folder}")
    text = text_of(write_show(data, group("D4"), tmp_path / "show.html", per_class=2).read_text(encoding="utf-8"))
    assert "galaxies-winding: 850 RGB images of 64 × 64, in 2 classes" in text
