"""An audit of the labels: what symmetry they can have, told by samples that nearly coincide when one is moved."""

from equimorph.data.audit.labels import audit_labels
from equimorph.data.audit.records import ContradictingPair, LabelAudit, SubgroupEvidence

__all__ = ["ContradictingPair", "LabelAudit", "SubgroupEvidence", "audit_labels"]
