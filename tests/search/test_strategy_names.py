"""Names of strategies: lists of them, and the options that a name can carry."""

import inspect
from typing import get_type_hints

import pytest

from equimorph.errors import ConfigurationError
from equimorph.search import Differentiable, Evolutionary, RandomSelection, RandomSteps, strategy_named
from equimorph.search.catalog import FORMS, split_names

EXAMPLES = {
    "static:H": "static:C4",
    "chain:H1,H2,…": "chain:D4,C4,C1",
    "from-G:H": "from-G:C4",
    "retrain:RUN": "retrain:runs/first",
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_names_a_strategy_that_knows_its_name(form):
    text = EXAMPLES.get(form, form)
    assert strategy_named(text).name == text


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("evolutionary", ["evolutionary"]),
        ("", []),
        (" , ,", []),
        ("augmented , narrow,", ["augmented", "narrow"]),
        ("chain:D4,C4,C1", ["chain:D4,C4,C1"]),
        ("chain:D4, C4 ,C1, static:C4", ["chain:D4,C4,C1", "static:C4"]),
        ("chain:D4,C4,chain:D4,D1@90", ["chain:D4,C4", "chain:D4,D1@90"]),
        ("static:C1,chain:D4,C4,rpp", ["static:C1", "chain:D4,C4", "rpp"]),
        ("rpp:mixture,rpp,retrain:runs/a-b", ["rpp:mixture", "rpp", "retrain:runs/a-b"]),
        ("differentiable:tied=true+skip=true,random-steps", ["differentiable:tied=true+skip=true", "random-steps"]),
        ("evolutionary,C4", ["evolutionary", "C4"]),  # which is refused later, by name
    ],
)
def test_a_list_is_split_at_its_commas_but_for_those_of_a_chain(text, names):
    assert split_names(text) == names


@pytest.mark.parametrize("form", FORMS)
def test_a_chain_ends_where_any_strategy_begins(form):
    text = EXAMPLES.get(form, form)
    assert split_names(f"chain:D4,C4,{text}") == ["chain:D4,C4", text]
    assert split_names(f"{text},augmented") == [text, "augmented"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("differentiable:tied=true", {"tied": True}),
        ("differentiable:tied=False+skip=TRUE", {"tied": False, "skip": True}),
        ("differentiable:travel=3", {"travel": 3.0}),
        ("differentiable:architecture_lr=1e-3", {"architecture_lr": 0.001}),
        ("differentiable:architecture-lr=0.01+held-out=.5", {"architecture_lr": 0.01, "held_out": 0.5}),
        ("differentiable:architecture_lr=none", {"architecture_lr": None}),
        ("differentiable:start=uniform+result=mixture+batches=held-out", {"start": "uniform", "result": "mixture"}),
        ("evolutionary:generations=7+moves=paper+children=9", {"generations": 7, "moves": "paper", "children": 9}),
        ("evolutionary: generations = 2 + initial_epochs = 1", {"generations": 2, "initial_epochs": 1.0}),
        ("evolutionary:children=null", {"children": None}),
    ],
)
def test_options_in_a_name_have_the_type_of_the_option(text, expected):
    strategy = strategy_named(text)
    found = {name: vars(strategy)[name] for name in expected}
    assert found == expected and [type(v) for v in found.values()] == [type(v) for v in expected.values()]


@pytest.mark.parametrize(
    ("text", "kind", "options"),
    [
        ("random-selection:generations=2", RandomSelection, {"generations": 2}),
        ("random-steps:tied=true", RandomSteps, {"tied": True}),
    ],
)
def test_the_random_searches_take_the_options_of_the_searches(text, kind, options):
    strategy = strategy_named(text)
    assert type(strategy) is kind and options.items() <= strategy.options.items()


def test_options_in_a_name_come_before_those_for_all():
    shared = {"tied": False, "travel": 2.0}
    strategy = strategy_named("differentiable:tied=true", differentiable=shared, evolutionary={"generations": 3})
    assert strategy.tied and strategy.travel == 2.0 and shared == {"tied": False, "travel": 2.0}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "differentiable:tight=true",
            '"tight=true" in "differentiable:tight=true" is no option.*the names are start, ',
        ),
        ("differentiable:tied", '"tied" in "differentiable:tied" is no option.*write name=value'),
        ("differentiable:shuffle=true", '"shuffle=true" in .* is no option'),
        ("differentiable:groups=C4", '"groups=C4" in .* is no option'),
        ("differentiable:generations=3", '"generations=3" in .* is no option'),
        ("evolutionary:tied=true", '"tied=true" in .* is no option.*the names are generations'),
        ("evolutionary:choose=draw", '"choose=draw" in .* is no option'),
        ("evolutionary:=3", '"=3" in .* is no option'),
        ("evolutionary:generations=", 'generations in .* is ""; it must be a whole number'),
        ("evolutionary:generations=two", 'generations in .* is "two"; it must be a whole number'),
        ("evolutionary:generations=1.5", 'generations in .* is "1.5"; it must be a whole number'),
        ("evolutionary:generations=true", 'generations in .* is "true"; it must be a whole number'),
        ("evolutionary:generations=none", 'generations in .* is "none"; it must be a whole number'),
        ("evolutionary:initial_epochs=[1", r'initial_epochs in .* is "\[1"; it must be a number'),
        ("differentiable:held_out=much", 'held_out in .* is "much"; it must be a number'),
        ("differentiable:held_out=nan", "held_out is nan; it must be between 0 and 1"),
        ("differentiable:architecture_lr=", 'architecture_lr in .* is ""; it must be a number'),
        ("differentiable:tied=perhaps", 'tied in .* is "perhaps"; it must be true or false'),
        ("differentiable:tied=1", 'tied in .* is "1"; it must be true or false'),
        ("random-steps:tied=", 'tied in .* is ""; it must be true or false'),
        ("random-selection:moves=", 'moves is ""'),
        ("differentiable:start=", 'start is ""; it is one of'),
    ],
)
def test_wrong_options_in_a_name_are_told_in_one_line(text, said):
    with pytest.raises(ConfigurationError, match=said) as caught:
        strategy_named(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "annealing", "static", "static:", "chain:", "from-G", "retrain", "random-static:x"]
)
def test_a_name_that_is_none_is_told_with_those_that_are(text):
    with pytest.raises(
        ConfigurationError, match=f'no strategy "{text}"; there are evolutionary, differentiable, growth, static:H'
    ):
        strategy_named(text)


@pytest.mark.parametrize("kind", [Evolutionary, Differentiable])
def test_every_option_of_a_search_has_its_default_as_a_text_too(kind):
    """So that no option is added whose type a name cannot carry."""
    word = {Evolutionary: "evolutionary", Differentiable: "differentiable"}[kind]
    assert get_type_hints(kind.__init__)
    for name, parameter in inspect.signature(kind).parameters.items():
        if name not in ("groups", "choose", "shuffle"):
            strategy = strategy_named(f"{word}:{name}={parameter.default}")
            assert vars(strategy)[name] == vars(kind())[name]
