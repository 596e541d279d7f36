"""The comparison of strategies: one page that says which finds the lowest test error, at what cost, and how surely.

Strategies run with the same seeds on the same data, so that any two can be compared seed by seed. One file,
`comparison.csv`, has a `Row` for each run; this room turns it into a `Comparison`, and that into words, figures, a page
and a Markdown table. Plotly and SciPy are imported only where they are used.
"""

from equimorph.reports.comparison.numbers import Comparison, compare
from equimorph.reports.comparison.page import write_comparison
from equimorph.reports.comparison.records import Row, read_rows, write_rows

__all__ = ["Comparison", "Row", "compare", "read_rows", "write_comparison", "write_rows"]
