"""Charts as inline SVG, made by small functions. Colours are CSS classes and variables of the page, so that every chart
follows its light, dark and printed form. Knows numbers and labels only.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

WIDTH, HEIGHT = 440, 268
LEFT, RIGHT, TOP, BOTTOM = 44, 74, 26, 42
MOST_HOVER_BANDS = 250
WIDEST_LETTER_PX = 6.5
NAME_HEIGHT = 14


@dataclass(frozen=True)
class Line:
    """One line of a chart: its name, a CSS class, and values (NaN where there is none) at the chart's positions."""

    name: str
    style: str
    values: Sequence[float]


@dataclass(frozen=True)
class Marks:
    """What is marked along the horizontal axis.

    Attributes:
        kept: position of the kept epoch, or None.
        phases: (first position, name) of each phase, in order.
    """

    kept: float | None
    phases: Sequence[tuple[float, str]]


def interval_bar(value: float, low: float, high: float, *, floor: float) -> Markup:
    """A score 0-1 as a dot on its interval, on a track from `floor` to 1. Decoration: the numbers stand beside it."""

    def x(fraction: float) -> float:
        return 2 + 96 * (min(max(fraction, floor), 1) - floor) / (1 - floor)

    text = (
        '<svg class="interval" aria-hidden="true"><rect class="track" x="0" y="6" width="100%" height="2" rx="1"/>'
        '<rect class="band" x="{:.1f}%" y="3" width="{:.1f}%" height="8" rx="4"/>'
        '<circle class="dot" cx="{:.1f}%" cy="7" r="3.5"/></svg>'
    )
    return Markup(text).format(x(low), max(x(high) - x(low), 1), x(value))


def nice_ticks(low: float, high: float, *, about: int, whole: bool = False) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten apart) that cover low to high in about that many steps."""
    rough = max(high - low, 1e-9) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(s * power for s in (1, 2, 5, 10) if s * power >= rough * 0.999)
    step = max(step, 1.0) if whole else step
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(k * step, 10) for k in range(first, last + 1)]


def line_chart(
    positions: Sequence[float],
    lines: Sequence[Line],
    *,
    key: str,
    title: str,
    marks: Marks,
    words: Callable[[float], str],
    bounds: tuple[float, float],
) -> Markup:
    """Lines over epochs, named at their ends, with hover text for each epoch.

    Args:
        positions: epochs, ascending, at least one.
        lines: with as many values each.
        key: unique in the page; joins the picture with its title.
        title: what a screen reader says.
        marks: the kept epoch and the phases.
        words: how a value is written.
        bounds: least and largest value the vertical axis must show.
    """
    ticks = nice_ticks(*bounds, about=5)
    bottom, top = ticks[0], ticks[-1]
    first, last = positions[0], positions[-1]
    if first == last:
        first, last = first - 0.5, last + 0.5

    def x(position: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (position - first) / (last - first)

    def y(value: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (top - value) / (top - bottom)

    parts = [_grid(ticks, y, words), _epochs(first, last, x), _phases(marks.phases, x)]
    parts += [_path(positions, line, x, y) for line in lines]
    parts.append(_kept(marks.kept, positions, lines[-1], x, y))
    parts.append(_names(positions, lines, x, y))
    parts.append(_hover(positions, lines, x, words))
    return Markup(
        '<svg class="chart" viewBox="0 0 {} {}" role="img" aria-labelledby="{}"><title id="{}">{}</title>{}</svg>'
    ).format(WIDTH, HEIGHT, key, key, title, Markup("").join(parts))


def _grid(ticks: Sequence[float], y: Callable[[float], float], words: Callable[[float], str]) -> Markup:
    line = (
        '<line class="grid" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/><text class="tick end" x="{}" y="{:.1f}">{}</text>'
    )
    marked = (Markup(line).format(LEFT, WIDTH - RIGHT, y(t), y(t), LEFT - 8, y(t) + 4, words(t)) for t in ticks)
    return Markup("").join(marked)


def _epochs(first: float, last: float, x: Callable[[float], float]) -> Markup:
    ticks = [t for t in nice_ticks(first, last, about=5, whole=True) if first <= t <= last]
    if len(ticks) > 1 and ticks[0] - first > (ticks[1] - ticks[0]) / 2:
        ticks = [first, *ticks]
    text = Markup('<text class="tick middle" x="{:.1f}" y="{}">{:.0f}</text>')
    marked = [text.format(x(t), HEIGHT - BOTTOM + 18, t) for t in ticks]
    marked.append(
        Markup('<text class="tick" x="{}" y="{}">epoch</text>').format(WIDTH - RIGHT + 18, HEIGHT - BOTTOM + 18)
    )
    return Markup("").join(marked)


def _phases(phases: Sequence[tuple[float, str]], x: Callable[[float], float]) -> Markup:
    """A line where each later phase begins, and below the axis each phase's name where there is room for it.

    Nothing for a single phase.
    """
    if len(phases) < 2:
        return Markup("")
    edges = [LEFT, *(x(start - 0.5) for start, _ in phases[1:]), WIDTH - RIGHT]
    line = Markup('<line class="phase" x1="{0:.1f}" x2="{0:.1f}" y1="{1}" y2="{2}"/>')
    text = Markup('<text class="tick middle" x="{:.1f}" y="{}">{}</text>')
    parts = [line.format(edge, TOP, HEIGHT) for edge in edges[1:-1]]
    for (_, name), left, right in zip(phases, edges, edges[1:], strict=False):
        if right - left >= WIDEST_LETTER_PX * len(name):
            parts.append(text.format((left + right) / 2, HEIGHT - 5, name))
    return Markup("").join(parts)


def _path(positions: Sequence[float], line: Line, x: Callable[[float], float], y: Callable[[float], float]) -> Markup:
    """A polyline through the finite values; a lone value is a dot."""
    points = [(x(p), y(v)) for p, v in zip(positions, line.values, strict=True) if math.isfinite(v)]
    if len(points) == 1:
        dot = Markup('<circle class="{}" cx="{:.1f}" cy="{:.1f}" r="3.5"/>')
        return dot.format(f"point {line.style}", *points[0])
    text = " ".join(f"{px:.1f},{py:.1f}" for px, py in points)
    return Markup('<polyline class="{}" points="{}"/>').format(f"line {line.style}", text)


def _kept(
    kept: float | None,
    positions: Sequence[float],
    line: Line,
    x: Callable[[float], float],
    y: Callable[[float], float],
) -> Markup:
    """The kept epoch: a thin upright, a ring on `line`, and words above the plot."""
    if kept is None or kept not in positions:
        return Markup("")
    at = x(kept)
    fraction = (at - LEFT) / (WIDTH - LEFT - RIGHT)
    anchor = "start" if fraction < 0.2 else "end" if fraction > 0.8 else "middle"
    upright = Markup('<line class="kept" x1="{0:.1f}" x2="{0:.1f}" y1="{1}" y2="{2}"/>').format(
        at, TOP - 6, HEIGHT - BOTTOM
    )
    text = Markup('<text class="tick kept-name {}" x="{:.1f}" y="{}">kept: epoch {:.0f}</text>')
    value = line.values[list(positions).index(kept)]
    ring = (
        Markup('<circle class="ring" cx="{:.1f}" cy="{:.1f}" r="4.5"/>').format(at, y(value))
        if math.isfinite(value)
        else ""
    )
    return upright + text.format(anchor, at, TOP - 12, kept) + ring


def _names(
    positions: Sequence[float], lines: Sequence[Line], x: Callable[[float], float], y: Callable[[float], float]
) -> Markup:
    """Each line's name beside its last value, pushed apart where two are close."""
    ends: list[tuple[float, float, Line]] = []
    for line in lines:
        finite = [(p, v) for p, v in zip(positions, line.values, strict=True) if math.isfinite(v)]
        if finite:
            ends.append((y(finite[-1][1]) + 4, x(finite[-1][0]) + 10, line))
    ends.sort(key=lambda end: end[0])
    heights = [at for at, _, _ in ends]
    for k in range(1, len(ends)):
        gap = max(0.0, NAME_HEIGHT - (heights[k] - heights[k - 1]))
        heights[k - 1], heights[k] = heights[k - 1] - gap / 2, heights[k] + gap / 2
    text = Markup('<text class="name {}" x="{:.1f}" y="{:.1f}">{}</text>')
    named = (text.format(line.style, left, at, line.name) for at, (_, left, line) in zip(heights, ends, strict=True))
    return Markup("").join(named)


def _hover(
    positions: Sequence[float], lines: Sequence[Line], x: Callable[[float], float], words: Callable[[float], str]
) -> Markup:
    if len(positions) > MOST_HOVER_BANDS:
        return Markup("")
    band = Markup('<rect class="hover" x="{:.1f}" y="{}" width="{:.1f}" height="{}"><title>{}</title></rect>')
    edges = [x((a + b) / 2) for a, b in itertools.pairwise(positions)]
    lefts, rights = [LEFT, *edges], [*edges, WIDTH - RIGHT]
    parts = []
    for k, position in enumerate(positions):
        values = (f"{line.name} {words(line.values[k])}" for line in lines if math.isfinite(line.values[k]))
        text = escape(f"epoch {position:.0f}: {', '.join(values)}")
        parts.append(band.format(lefts[k], TOP, rights[k] - lefts[k], HEIGHT - TOP - BOTTOM, text))
    return Markup("").join(parts)
