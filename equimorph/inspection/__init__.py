"""What a network is: its sites, how far each is from the symmetries it could have, where equivariance is lost."""

from equimorph.inspection.audit import Audit, AuditRow, audit
from equimorph.inspection.distances import DistanceTable, distances
from equimorph.inspection.growth import growth_evidence
from equimorph.inspection.mixtures import mixture_shares, mixture_weights
from equimorph.inspection.sites import check_chain, sites
from equimorph.inspection.windows import suitable_sizes

__all__ = [
    "Audit",
    "AuditRow",
    "DistanceTable",
    "audit",
    "check_chain",
    "distances",
    "growth_evidence",
    "mixture_shares",
    "mixture_weights",
    "sites",
    "suitable_sizes",
]
