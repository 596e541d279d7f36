"""The report of a run: one HTML page that says how much symmetry each layer keeps, what it cost, and how it was found.

A run folder holds data only (see `docs/run-folder.md`). This room reads them into `Numbers`, puts the result into
words, draws figures of the numbers, and makes one page of all that; the page works with no network. Plotly is imported
only when a page is made. Runs of several strategies have a page of their own, see `equimorph.reports.comparison`, and
so have a data set before any run, see `equimorph.reports.dataset`, and the audit of a network,
`equimorph.reports.equivariance`.
"""

from equimorph.reports import equivariance
from equimorph.reports.comparison import write_comparison
from equimorph.reports.numbers import Numbers, read_numbers
from equimorph.reports.page import write

__all__ = ["Numbers", "equivariance", "read_numbers", "write", "write_comparison"]
