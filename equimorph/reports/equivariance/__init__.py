"""The page of an audit: where a network loses equivariance, call by call and element by element."""

from equimorph.reports.equivariance.numbers import EquivarianceNumbers, read_audit
from equimorph.reports.equivariance.page import write
from equimorph.reports.equivariance.words import tell_headline, tell_rest

__all__ = ["EquivarianceNumbers", "read_audit", "tell_headline", "tell_rest", "write"]
