"""Bars on a logarithmic scale, as SVG."""

import math
from collections.abc import Mapping
from html import escape

from benchmarks.speed.measuring import Results
from benchmarks.speed.report import names
from benchmarks.speed.rows import ROWS

WIDTH, LABEL, BAR, GAP, HEAD = 760, 230, 20, 6, 40
SHOWN = ("warm", "alone", "select")
OURS, OTHERS = "#2f6f4f", "#8a94a6"


def as_svg(results: Results) -> str:
    """Requests a second of the rows that compare us with others."""
    parts, top = [], 0
    for name in (name for name in SHOWN if name in results):
        figures = {key: cell.per_second for key, cell in results[name].items()}
        parts += _bars(ROWS[name].title, figures, top)
        top += HEAD + (BAR + GAP) * len(figures)
    style = "<style>text{font:13px sans-serif;fill:#333}.t{font-weight:bold}@media(prefers-color-scheme:dark){text{fill:#ddd}}</style>"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{top + GAP}" viewBox="0 0 {WIDTH} {top + GAP}" role="img">'
    return "\n".join([head, "<title>Requests a second, logarithmic</title>", style, *parts, "</svg>"]) + "\n"


def _bars(title: str, figures: Mapping[str, float], top: int) -> list[str]:
    """From the power of ten below the lowest figure, which would have no bar otherwise."""
    known = names()
    low = math.floor(math.log10(max(min(figures.values()), 1)))
    if 10**low >= min(figures.values()) and low > 0:
        low -= 1
    high = math.log10(max(figures.values()))
    parts = [f'<text class="t" x="0" y="{top + 26}">{escape(title.replace("`", ""))}, requests/s (logarithmic)</text>']
    for number, (key, figure) in enumerate(sorted(figures.items(), key=lambda pair: -pair[1])):
        y = top + HEAD + number * (BAR + GAP)
        length = (WIDTH - LABEL - 70) * max(math.log10(max(figure, 1)) - low, 0.02) / max(high - low, 0.02)
        fill = OURS if known[key].startswith("Holdfast") else OTHERS
        parts += [
            f'<text x="{LABEL - 8}" y="{y + 15}" text-anchor="end">{escape(known[key])}</text>',
            f'<rect x="{LABEL}" y="{y}" width="{length:.0f}" height="{BAR}" rx="3" fill="{fill}"/>',
            f'<text x="{LABEL + length + 6:.0f}" y="{y + 15}">{figure:.0f}</text>',
        ]
    return parts
