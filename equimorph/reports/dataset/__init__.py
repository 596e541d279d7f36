"""Pages about a data set, before any training: what is in it, and what symmetry its labels can have."""

from equimorph.reports.dataset.audit_page import write_audit
from equimorph.reports.dataset.show_page import write_show

__all__ = ["write_audit", "write_show"]
