import re

import pytest
import torch

from equimorph.data import ImageData, Split, make_textures
from equimorph.data.audit.labels import audit_labels
from equimorph.errors import DataError
from equimorph.groups import group
from equimorph.reports.dataset.audit_figure import draw_bounds
from equimorph.reports.dataset.audit_page import make_page, write_audit
from equimorph.reports.dataset.audit_words import tell_headline, tell_limits
from equimorph.reports.dataset.moves import tell_move

HOSTILE = "<script>alert(1)</script>"


def mirrored(*, dim=2, channels=1, name="mirrors", classes=("b", "d")):
    """Twenty images of class b, and their mirror images of class d."""
    x = torch.rand(20, channels, *[8] * dim, generator=torch.Generator().manual_seed(0))
    split = Split(torch.cat([x, x.flip(-1)]), torch.arange(40) // 20)
    return ImageData.from_splits(name, split, split, split, classes=classes)


@pytest.fixture(scope="module")
def found():
    data = mirrored()
    return audit_labels(data, group("D2")), data


def test_the_page_says_what_is_ruled_out_and_shows_three_pictures_for_each_pair(found):
    audit, data = found
    page = make_page(audit, data)
    assert "not invariant under D1@90" in page
    assert page.count('<img class="sample"') == 3 * len(audit.pairs) > 0
    assert "--group D2@0 --subgroups C1,C2,D2@0" in page
    assert "What this cannot see" in page
    assert "flipped left-right" in page


def test_the_page_loads_nothing_from_elsewhere(found, tmp_path):
    path = write_audit(*found, tmp_path / "audit.html")
    page = path.read_text(encoding="utf-8")
    body = page[: page.index("<script>")]  # what follows is Plotly's own code
    assert "default-src 'none'" in body
    assert not re.search(r'(src|href)="(?!data:)', body)


def test_bars_are_the_bounds_in_percent(found):
    audit, _ = found
    bars = {name: length for trace in draw_bounds(audit).data for name, length in zip(trace.y, trace.x, strict=True)}
    assert bars == {member.name: 100 * member.bound for member in audit.evidence}
    assert bars["D2@0"] == 50


@pytest.mark.parametrize(("dim", "name", "element"), [(1, "Z2", "<svg"), (2, "D1", "<img"), (3, "D4h", "<img")])
def test_signals_images_and_volumes_have_their_pictures(dim, name, element):
    data = mirrored(dim=dim, channels=3)
    audit = audit_labels(data, group(name, dim=dim))
    assert audit.pairs
    assert f'{element} class="sample"' in make_page(audit, data)


def test_names_from_files_are_escaped():
    data = mirrored(name=HOSTILE, classes=(HOSTILE, "d"))
    page = make_page(audit_labels(data, group("D1")), data)
    assert HOSTILE not in page


def test_where_nothing_coincides_the_page_says_that_nothing_can_be_said():
    data = make_textures("C4", num_train=100)
    audit = audit_labels(data, group("D4"))
    assert "cannot be judged" in tell_headline(audit)
    assert "nearly nothing can be said" in tell_limits(audit)[0]
    assert "No two samples of different labels" in make_page(audit, data)


def test_every_element_of_the_square_is_told_apart():
    D4 = group("D4")
    assert len({tell_move(D4, h) for h in range(8)}) == 8


def test_a_quarter_turn_is_told_as_it_is_seen():
    from equimorph.layers.features import transform

    D4 = group("D4")
    right = torch.zeros(1, 1, 3, 3)
    right[0, 0, 1, 2] = 1
    turn = next(h for h in range(8) if tell_move(D4, h) == "turned by 90° anticlockwise")
    assert transform(right, turn, D4, "trivial")[0, 0, 0, 1] == 1  # what pointed right points up


def test_another_data_set_is_refused(found, tmp_path):
    audit, _ = found
    with pytest.raises(DataError, match="pass the data that were audited"):
        write_audit(audit, mirrored(name="others"), tmp_path / "audit.html")
