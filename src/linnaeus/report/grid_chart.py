"""Tables of shaded cells, and bars, as SVG in the style of `charts`: for files, where the page has tables of its own.

Knows numbers and labels only.
"""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from linnaeus.report.wording import figure, shorten

LONGEST_NAME = 22
_LETTER_PX, _CELL_PX, _BAR_PX, _BAR_WIDTH = 6.8, 34, 20, 320


def grid_chart(
    names: Sequence[str],
    cells: Sequence[Sequence[tuple[str, float, bool]]],
    *,
    key: str,
    title: str,
    row_name: str,
    column_name: str,
) -> Markup:
    """Rows and columns of the same K names.

    Args:
        cells: [K][K] of (number, shade 0-1, whether it is on the diagonal).
        key: unique; joins the picture with its title.
        title: what a screen reader says.
        row_name, column_name: what rows and columns are, such as "true class".
    """
    short = [shorten(name, at_most=LONGEST_NAME) for name in names]
    margin = 24 + _LETTER_PX * max(len(name) for name in short)
    side = margin + _CELL_PX * len(names)
    name = Markup('<text class="end" x="{:.1f}" y="{:.1f}">{}</text>')
    turned = Markup('<text class="tick" transform="translate({:.1f} {:.1f}) rotate(-90)">{}</text>')
    cell = Markup('<rect class="{}" x="{:.1f}" y="{:.1f}" width="{}" height="{}" fill-opacity="{:.3f}"/>')
    number = Markup('<text class="{}" x="{:.1f}" y="{:.1f}">{}</text>')
    parts = [
        turned.format(12, side, row_name),
        Markup('<text class="end" x="{:.1f}" y="12">{}</text>').format(side, column_name),
    ]
    for i, row in enumerate(cells):
        top = margin + _CELL_PX * i
        parts.append(name.format(margin - 6, top + _CELL_PX / 2 + 4, short[i]))
        parts.append(turned.format(top + _CELL_PX / 2 + 4, margin - 6, short[i]))
        for j, (words, shade, diagonal) in enumerate(row):
            left = margin + _CELL_PX * j
            parts.append(cell.format("own" if diagonal else "other", left, top, _CELL_PX, _CELL_PX, shade))
            if words != "0":
                style = "middle light" if shade > 0.6 else "middle"
                parts.append(number.format(style, left + _CELL_PX / 2, top + _CELL_PX / 2 + 4, words))
    return _svg(side + 8, side + 8, key, title, parts)


def bar_chart(rows: Sequence[tuple[str, float]], *, key: str, title: str, axis_name: str) -> Markup:
    """A bar for each (name, fraction 0-1), one below the other."""
    short = [shorten(name, at_most=LONGEST_NAME) for name, _ in rows]
    margin = 14 + _LETTER_PX * max((len(name) for name in short), default=0)
    height = 10 + _BAR_PX * len(rows) + 40
    line = Markup('<line class="grid" x1="{0:.1f}" x2="{0:.1f}" y1="10" y2="{1}"/>')
    tick = Markup('<text class="middle" x="{:.1f}" y="{}">{}</text>')
    parts = []
    for value in (0.0, 0.25, 0.5, 0.75, 1.0):
        parts.append(line.format(margin + _BAR_WIDTH * value, height - 40))
        parts.append(tick.format(margin + _BAR_WIDTH * value, height - 24, f"{100 * value:g} %"))
    parts.append(tick.format(margin + _BAR_WIDTH / 2, height - 6, axis_name))
    name = Markup('<text class="end" x="{:.1f}" y="{}">{}</text>')
    bar = Markup('<rect class="own" x="{:.1f}" y="{}" width="{:.1f}" height="{}"/>')
    number = Markup('<text x="{:.1f}" y="{}">{}</text>')
    for k, (text, (_, value)) in enumerate(zip(short, rows, strict=True)):
        top = 10 + _BAR_PX * k
        parts.append(name.format(margin - 6, top + 14, text))
        parts.append(bar.format(margin, top + 4, _BAR_WIDTH * value, _BAR_PX - 8))
        parts.append(number.format(margin + _BAR_WIDTH * value + 5, top + 14, figure(value)))
    return _svg(margin + _BAR_WIDTH + 50, height, key, title, parts)


def _svg(width: float, height: float, key: str, title: str, parts: Sequence[Markup]) -> Markup:
    head = '<svg class="chart" viewBox="0 0 {:.0f} {:.0f}" role="img" aria-labelledby="{}"><title id="{}">{}</title>'
    return Markup(head + "{}</svg>").format(width, height, key, key, title, Markup("").join(parts))
