"""How far each trained layer is from commuting with each subgroup."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from equimorph.layers import sites_of


@dataclass(frozen=True)
class DistanceTable:
    """Distances by site and subgroup: `table["block1.conv"]["C4"]`; printing it gives the table.

    Attributes:
        rows: For each site, delta_H by the name of H, smallest groups first.
    """

    rows: dict[str, dict[str, float]]

    def __getitem__(self, site: str) -> dict[str, float]:
        return self.rows[site]

    def __str__(self) -> str:
        columns = list(next(iter(self.rows.values()), {}))
        width = max([4, *map(len, self.rows)])
        cells = [max(6, len(column)) for column in columns]
        lines = [" ".join([" " * width, *(f"{column:>{cell}}" for column, cell in zip(columns, cells, strict=True))])]
        for site, row in self.rows.items():
            values = (f"{row[column]:>{cell}.3f}" for column, cell in zip(columns, cells, strict=True))
            lines.append(" ".join([f"{site:<{width}}", *values]))
        return "\n".join(lines)


def distances(network: nn.Module) -> DistanceTable:
    """How far the kernel of each site is from H-equivariance, for every subgroup H of G.

        delta_H = |W - P_H W| / |W|

    Returns:
        Numbers between 0 (the kernel commutes with H) and 1.
    Example:
        >>> from equimorph.layers import Conv2d
        >>> conv = Conv2d(1, 2, 3, group="C4", subgroup="C2", source="trivial")
        >>> {H: round(d, 6) for H, d in distances(nn.Sequential(conv))["0"].items() if H != "C4"}
        {'C1': 0.0, 'C2': 0.0}

    Source: the method's page, section 2.
    """
    return DistanceTable(
        {
            name: {H.name: site.layer.distance(H) for H in site.constraint.group.subgroups()}
            for name, site in sites_of(network).items()
        }
    )
