"""What a network is: its sites, and how far each is from the symmetries it could have."""

from equimorph.inspection.distances import DistanceTable, distances
from equimorph.inspection.growth import growth_evidence
from equimorph.inspection.mixtures import mixture_shares, mixture_weights
from equimorph.inspection.sites import check_chain, sites

__all__ = ["DistanceTable", "check_chain", "distances", "growth_evidence", "mixture_shares", "mixture_weights", "sites"]
