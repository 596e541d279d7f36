"""Strategies that decide how much symmetry each site keeps, all run and recorded in the same way.

`_base.py` is the contract of a strategy and `session.py` what it works with: candidates go in, are trained, and come
out measured and on record. Each strategy is one file.
"""

from equimorph.search._base import Result, Strategy
from equimorph.search.candidate import Candidate
from equimorph.search.catalog import strategy_named
from equimorph.search.evolutionary import Evolutionary
from equimorph.search.observer import Observer
from equimorph.search.run_folder import RunFolder, load
from equimorph.search.static import Static

__all__ = [
    "Candidate",
    "Evolutionary",
    "Observer",
    "Result",
    "RunFolder",
    "Static",
    "Strategy",
    "load",
    "strategy_named",
]
