"""The probe on the audit's page: its words, the numbers in its figures, and a picture for every move."""

import numpy as np
import pytest
import torch

import equimorph as em
from equimorph.data import ImageData, Split, audit_labels
from equimorph.reports.dataset.audit_page import make_page
from equimorph.reports.dataset.probe_figures import draw_classes, draw_lattice
from equimorph.reports.dataset.probe_words import suggested, tell_element, tell_probe, tell_visible


@pytest.fixture(scope="module")
def probed():
    data = em.data.make_textures("D1@90", num_train=300)
    return data, em.probe(data)


def test_the_words_name_what_keeps_and_what_changes_the_labels(probed):
    _, found = probed
    said = tell_probe(found)
    assert "keep the labels (D1@90)" in said and "quarter turns change them" in said and "300 samples" in said
    kept = [one for one in found.elements if one.kept]
    assert [tell_element(found, one) for one in kept] == ["keeps the labels"]
    assert all(tell_element(found, one) != "keeps the labels" for one in found.elements if not one.kept)
    assert suggested(found) == ("C1", "D1@90")


def test_the_lattice_has_every_subgroup_once_and_a_line_for_each_step(probed):
    _, found = probed
    figure = draw_lattice(found)
    points = figure.data[0]
    assert len(points.x) == 10 and len(set(zip(points.x, points.y, strict=True))) == 10
    assert len(figure.layout.shapes) == 15  # of D4: five below, seven between, three above
    assert points.marker.color[4] == min(found.subgroups[4].z, 10)


def test_the_map_has_the_z_of_every_subgroup_and_class(probed):
    _, found = probed
    drawn = draw_classes(found).data[0]
    expected = [[one.by_class[name].z for name in one.by_class] for one in found.subgroups]
    np.testing.assert_allclose(np.array(drawn.text, dtype=float), expected, atol=0.051)
    assert np.abs(np.array(drawn.z)).max() <= 10


def test_the_page_shows_each_move_beside_a_sample(probed):
    data, found = probed
    page = make_page(audit_labels(data, em.group("D4"), num_samples=200), data, found)
    assert page.count('alt="the same sample, ') == 7
    assert "--subgroups C1,D1@90" in page and "Samples that nearly coincide" in page


def test_names_of_classes_are_text_on_the_page():
    x = torch.randn(80, 1, 8, 8)
    split = Split(x, torch.arange(80) % 2)
    data = ImageData.from_splits("<i>x</i>", split, split, split, classes=("<script>a", "b"))
    page = make_page(audit_labels(data, em.group("C2")), data, em.probe(data, "C2"))
    assert "<script>a" not in page and "<i>x</i>" not in page


def test_features_that_read_nothing_name_no_group():
    x = torch.randn(200, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    split = Split(x, torch.randint(2, (200,), generator=torch.Generator().manual_seed(0)))
    found = em.probe(ImageData.from_splits("noise", split, split, split, classes=("a", "b")), "C4")
    assert "nothing can be said" in tell_probe(found) and "No move shows" in tell_visible(found)
