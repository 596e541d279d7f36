"""Strategies that decide how much symmetry each site keeps, all run and recorded in the same way.

`_base.py` is the contract of a strategy and `session.py` what it works with: candidates go in, are trained, and come
out measured and on record. Each strategy is one file.
"""

from equimorph.search._base import Result, Strategy
from equimorph.search.augmented import Augmented
from equimorph.search.candidate import Candidate
from equimorph.search.catalog import strategy_named
from equimorph.search.differentiable import Differentiable
from equimorph.search.evolutionary import Evolutionary
from equimorph.search.from_group import FromGroup
from equimorph.search.growth import Growth
from equimorph.search.narrow import Narrow
from equimorph.search.observer import Observer
from equimorph.search.random_selection import RandomSelection
from equimorph.search.random_static import RandomStatic
from equimorph.search.random_steps import RandomSteps
from equimorph.search.residual import ResidualPathwayPriors
from equimorph.search.retrain import Retrain
from equimorph.search.run_folder import RunFolder, load
from equimorph.search.static import Static

__all__ = [
    "Augmented",
    "Candidate",
    "Differentiable",
    "Evolutionary",
    "FromGroup",
    "Growth",
    "Narrow",
    "Observer",
    "RandomSelection",
    "RandomStatic",
    "RandomSteps",
    "ResidualPathwayPriors",
    "Result",
    "Retrain",
    "RunFolder",
    "Static",
    "Strategy",
    "load",
    "strategy_named",
]
