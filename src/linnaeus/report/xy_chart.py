"""Charts of one number against another, as inline SVG in the style of `charts`. Knows numbers and labels only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from linnaeus.report.charts import BOTTOM, HEIGHT, LEFT, NAME_HEIGHT, RIGHT, TOP, WIDTH, nice_ticks


@dataclass(frozen=True)
class Trace:
    """A line: its name, a CSS class, points (x, y), 0-1 each, and what is said of each point on hovering.

    `about` is said of the whole line; without a name nothing is written at its end.
    """

    name: str
    style: str
    points: Sequence[tuple[float, float]]
    words: Sequence[str] = ()
    dots: bool = False
    about: str = ""


def fraction_chart(
    traces: Sequence[Trace], *, key: str, title: str, x_name: str, floor: float = 0.0, diagonal: bool = False
) -> Markup:
    """Fractions 0-1 over fractions 0-1, in percent.

    Args:
        key: unique in the page; joins the picture with its title.
        title: what a screen reader says.
        x_name: below the axis.
        floor: where the vertical axis begins.
        diagonal: draw where both are equal.
    """

    def x(value: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * value

    def y(value: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (1 - (max(value, floor) - floor) / (1 - floor))

    line = Markup('<line class="grid" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>')
    tick = Markup('<text class="tick {}" x="{:.1f}" y="{:.1f}">{}</text>')
    parts = []
    for value in (t for t in nice_ticks(floor, 1.0, about=5) if floor - 1e-9 <= t <= 1):
        parts.append(line.format(LEFT, WIDTH - RIGHT, y(value), y(value)))
        parts.append(tick.format("end", LEFT - 8, y(value) + 4, f"{100 * value:g}"))
    parts += [tick.format("middle", x(v), HEIGHT - BOTTOM + 18, f"{100 * v:g} %") for v in (0.0, 0.25, 0.5, 0.75, 1.0)]
    parts.append(tick.format("middle", x(0.5), HEIGHT - 6, x_name))
    if diagonal:
        straight = Markup('<line class="phase" x1="{:.1f}" x2="{:.1f}" y1="{:.1f}" y2="{:.1f}"/>')
        parts.append(straight.format(x(floor), x(1.0), y(floor), y(1.0)))
    ends: list[tuple[float, Trace]] = []
    for trace in traces:
        points = [(a, b) for a, b in trace.points if math.isfinite(a) and math.isfinite(b)]
        if not points:
            continue
        text = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in points)
        about = Markup("<title>{}</title>").format(trace.about) if trace.about else ""
        parts.append(Markup('<polyline class="line {}" points="{}">{}</polyline>').format(trace.style, text, about))
        dot = Markup('<circle class="point {}" cx="{:.1f}" cy="{:.1f}" r="{}"><title>{}</title></circle>')
        for (a, b), words in zip(points, trace.words or [""] * len(points), strict=False):
            if trace.dots:
                parts.append(dot.format(trace.style, x(a), y(b), 3.5, words))
        if trace.name:
            ends.append((y(points[-1][1]) + 4, trace))
    ends.sort(key=lambda end: end[0])
    name = Markup('<text class="name {}" x="{:.1f}" y="{:.1f}">{}</text>')
    for at, (_, trace) in zip(_apart([at for at, _ in ends], lowest=y(floor)), ends, strict=True):
        parts.append(name.format(trace.style, WIDTH - RIGHT + 8, at, trace.name))
    return Markup(
        '<svg class="chart" viewBox="0 0 {} {}" role="img" aria-labelledby="{}"><title id="{}">{}</title>{}</svg>'
    ).format(WIDTH, HEIGHT, key, key, title, Markup("").join(parts))


def _apart(heights: Sequence[float], *, lowest: float) -> list[float]:
    """Heights of names, from the top: each clear of the one above, and none down among the words of the axis."""
    moved: list[float] = []
    for at in heights:
        moved.append(max(at, moved[-1] + NAME_HEIGHT) if moved else at)
    for k in range(len(moved) - 1, -1, -1):
        moved[k] = min(moved[k], lowest if k == len(moved) - 1 else moved[k + 1] - NAME_HEIGHT)
    return moved
