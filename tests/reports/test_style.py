"""Colours that can be told apart."""

from equimorph.reports import style


def luma(colour):
    return sum(weight * int(colour[at : at + 2], 16) for weight, at in ((0.299, 1), (0.587, 3), (0.114, 5)))


def test_larger_groups_are_darker():
    for count in range(2, 11):
        colours = list(style.colour_subgroups([str(index) for index in range(count)]).values())
        lumas = [luma(colour) for colour in colours]
        assert lumas == sorted(lumas, reverse=True)
        assert len(set(colours)) == count


def test_text_stands_out_from_its_background():
    names = ["C1", "D1@90", "C2", "D2@0", "C4", "D4"]
    for colour in style.colour_subgroups(names).values():
        assert abs(luma(style.choose_ink(colour)) - luma(colour)) > 90


def test_a_single_group_has_a_colour():
    assert style.colour_subgroups(["D4"]) == {"D4": "#2b3a8c"}
