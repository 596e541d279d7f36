"""The evolutionary search as most tests want it: from one network at G, with Pareto selection, no child left out."""

from equimorph.search import Evolutionary


def from_group(**options):
    usual = {"start": "group", "selection": "pareto", "generations": 5, "population": 5, "children": None}
    return Evolutionary(**(usual | options))
