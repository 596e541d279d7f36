"""How a page looks: its colours and its style sheet. Light, calm, and readable without telling red from green."""

from __future__ import annotations

from collections.abc import Sequence

INK = "#1f2733"
MUTED = "#667085"
FAINT = "#c3c9d4"
GRID = "#eceef2"
ACCENT = "#d55e00"  # Okabe and Ito's vermilion, for the best network wherever it is drawn
FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif'

# Validation errors, low to high: dark is good.
ERROR_SCALE = ((0.0, "#33205e"), (0.5, "#8d74b8"), (1.0, "#ded5ea"))

# Subgroups, small to large: lightness falls steadily, so the order survives every kind of colour blindness.
_SUBGROUP_ANCHORS = ("#f3efcf", "#c9e4b8", "#80cdbb", "#41a9c2", "#2b72b2", "#2b3a8c")


def colour_subgroups(names: Sequence[str]) -> dict[str, str]:
    """One colour for each subgroup, light for the first (smallest), dark for the last (largest).

    Example:
        >>> colour_subgroups(["C1", "C4", "D4"])
        {'C1': '#f3efcf', 'C4': '#60bbbe', 'D4': '#2b3a8c'}
    """
    if len(names) == 1:
        return {names[0]: _SUBGROUP_ANCHORS[-1]}
    return {name: _along(_SUBGROUP_ANCHORS, index / (len(names) - 1)) for index, name in enumerate(names)}


def choose_ink(colour: str) -> str:
    """The text colour, dark or white, that is read best on a background."""
    red, green, blue = _channels(colour)
    # Rec. 601 luma, 0 to 255: below 140 white has the better contrast.
    return INK if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else "#ffffff"


def _along(anchors: Sequence[str], position: float) -> str:
    scaled = position * (len(anchors) - 1)
    lower = min(int(scaled), len(anchors) - 2)
    share = scaled - lower
    ends = zip(_channels(anchors[lower]), _channels(anchors[lower + 1]), strict=True)
    return "#" + "".join(f"{round(start + share * (end - start)):02x}" for start, end in ends)


def _channels(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


_VARIABLES = f"""
:root {{ color-scheme: light; --ink: {INK}; --muted: {MUTED}; --grid: {GRID}; --accent: {ACCENT}; --font: {FONT}; }}
"""

_RULES = """
* { box-sizing: border-box; }
body { margin: 0; background: #f7f8fa; color: var(--ink); font: 16px/1.55 var(--font); -webkit-text-size-adjust: 100%; }
main, header, footer { max-width: 1080px; margin: 0 auto; padding: 0 24px; }
header { padding-top: 44px; padding-bottom: 8px; }
h1 { font-size: clamp(1.5rem, 1.05rem + 2vw, 2.3rem); line-height: 1.22; letter-spacing: -0.015em; font-weight: 650;
  margin: 6px 0 10px; text-wrap: balance; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; line-height: 1.3; font-weight: 650; margin: 0 0 4px; }
p { margin: 0 0 10px; }
.origin, .whole, figcaption, .card small, footer { color: var(--muted); }
.origin { font-size: 0.9rem; margin: 0; overflow-wrap: anywhere; }
.origin b { color: var(--ink); font-weight: 600; }
.whole { font-size: 1.05rem; max-width: 60em; }
.sites { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(var(--cell), 100%), 1fr)); gap: 4px 3px;
  margin: 22px 0 12px; padding: 0; list-style: none; font-size: 0.92rem; }
.sites li { text-align: center; min-width: 0; }
.sites span { display: block; padding: 10px 2px; border-radius: 5px; font-weight: 600; overflow-wrap: anywhere; }
.sites em { display: block; font-style: normal; font-weight: 400; font-size: 0.8em; line-height: 1.2; }
.sites small { font-size: 0.75rem; color: var(--muted); }
.groups { display: flex; flex-wrap: wrap; gap: 4px 22px; margin: 0 0 8px; padding: 0; list-style: none;
  font-size: 0.9rem; color: var(--muted); }
.groups b { color: var(--ink); font-weight: 600; }
.chip { display: inline-block; width: 0.8em; height: 0.8em; border-radius: 3px; margin-right: 6px;
  vertical-align: -0.04em; box-shadow: inset 0 0 0 1px rgb(31 39 51 / 12%); }
.cards { display: grid; grid-template-columns: repeat(4, 1fr); gap: 14px; margin: 22px 0 28px; padding: 0; }
.card, section { background: #fff; border: 1px solid #e6e9ee; border-radius: 12px; }
.card { padding: 15px 18px 14px; min-width: 0; }
.card dt { font-size: 0.85rem; font-weight: 600; color: var(--muted); }
.card dd { margin: 0; font-size: 1.75rem; line-height: 1.25; font-weight: 650; letter-spacing: -0.01em;
  font-variant-numeric: tabular-nums; }
.card small { display: block; margin-top: 4px; font-size: 0.85rem; line-height: 1.4; font-weight: 400;
  letter-spacing: 0; overflow-wrap: anywhere; }
.notice { border-left: 4px solid var(--accent); background: #fff; border-radius: 0 12px 12px 0; padding: 14px 18px;
  margin: 18px 0; }
.notice p { margin: 0; }
section { padding: 22px 24px; margin: 0 0 18px; }
figure { margin: 0; }
figcaption { font-size: 0.94rem; max-width: 50em; margin-bottom: 8px; }
.legend { display: flex; flex-wrap: wrap; align-items: baseline; gap: 2px 18px; margin: 4px 0 6px; padding: 0;
  list-style: none; font-size: 0.85rem; }
.legend li { overflow-wrap: anywhere; }
.legend i { display: inline-block; min-width: 1em; margin-right: 5px; font-style: normal; font-size: 1.1em;
  text-align: center; }
.legend i.line { width: 1.5em; border-top: 3px solid; vertical-align: 0.27em; }
.plot { width: 100%; }
.scroll { overflow-x: auto; }
.scroll + .scroll, figure + .scroll { margin-top: 18px; }
table { border-collapse: collapse; width: 100%; font-size: 0.92rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--muted); padding-bottom: 8px; }
th, td { text-align: left; padding: 8px 14px 8px 0; border-bottom: 1px solid var(--grid); vertical-align: top; }
th { font-weight: 600; color: var(--muted); font-size: 0.85rem; }
td { overflow-wrap: break-word; max-width: 34em; }
th:last-child, td:last-child { padding-right: 0; }
.number { text-align: right; }
td.number { white-space: nowrap; }
tr.best td { font-weight: 650; }
tr.best td:first-child { color: var(--accent); }
details > summary { cursor: pointer; font-size: 1.15rem; font-weight: 650; }
details[open] > summary { margin-bottom: 12px; }
pre { margin: 0; padding: 14px 16px; background: #f7f8fa; border-radius: 8px; overflow-x: auto;
  font: 0.85rem/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
footer { font-size: 0.85rem; padding-top: 10px; padding-bottom: 40px; }
@media (max-width: 860px) { .cards { grid-template-columns: repeat(2, 1fr); } }
@media (max-width: 560px) {
  main, header, footer { padding-left: 14px; padding-right: 14px; }
  header { padding-top: 26px; }
  section { padding: 16px 12px; border-radius: 10px; }
  .cards { gap: 10px; }
  .card { padding: 12px 13px; }
  .card dd { font-size: 1.4rem; }
  .sites { font-size: 0.85rem; }
  table { font-size: 0.85rem; }
  th, td { padding-right: 9px; }
}
@media print { body { background: #fff; } section, .card { break-inside: avoid; } }
"""

STYLE_SHEET = _VARIABLES + _RULES
