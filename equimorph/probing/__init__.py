"""The probe: which symmetry the labels of a data set have, in closed form.

Features that need no training are averaged over each subgroup, a linear fit is made for each, and their errors on
samples that were left out are compared, on the same samples.
"""

from equimorph.probing._probe import probe
from equimorph.probing.features import PatchFeatures, Widths, draw_features
from equimorph.probing.fit import STRENGTHS, Fit, fit, guessed
from equimorph.probing.paired import Comparison, compare, limit
from equimorph.probing.result import Probe, ProbedElement, ProbedSubgroup

__all__ = [
    "STRENGTHS",
    "Comparison",
    "Fit",
    "PatchFeatures",
    "Probe",
    "ProbedElement",
    "ProbedSubgroup",
    "Widths",
    "compare",
    "draw_features",
    "fit",
    "guessed",
    "limit",
    "probe",
]
