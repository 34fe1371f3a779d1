"""Charts: the right points in the right places."""

import itertools
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linnaeus.report.charts import (
    BOTTOM,
    HEIGHT,
    LEFT,
    NAME_HEIGHT,
    RIGHT,
    TOP,
    WIDTH,
    Line,
    Marks,
    interval_bar,
    line_chart,
    nice_ticks,
)
from linnaeus.report.xy_chart import Trace, fraction_chart

NOTHING = Marks(None, [])


def draw(positions, *lines, marks=NOTHING, bounds=(0.0, 1.0)):
    named = [Line(f"line {k}", f"s{k}", values) for k, values in enumerate(lines)]
    return str(line_chart(positions, named, key="k", title="T", marks=marks, words=lambda v: f"{v:g}", bounds=bounds))


def points(svg):
    return [[tuple(map(float, p.split(","))) for p in text.split()] for text in re.findall(r'points="([^"]*)"', svg)]


@given(st.floats(-1e3, 1e3), st.floats(1e-3, 1e3), st.integers(2, 8))
def test_ticks_are_even_round_and_cover_the_range(low, width, about):
    ticks = nice_ticks(low, low + width, about=about)
    steps = {round(b - a, 6) for a, b in itertools.pairwise(ticks)}
    assert len(steps) == 1
    step = steps.pop()
    assert round(step / 10 ** math.floor(math.log10(step) + 1e-9), 6) in (1, 2, 5)
    assert ticks[0] <= low + 1e-6
    assert ticks[-1] >= low + width - 1e-6
    assert len(ticks) <= about + 2


def test_values_are_drawn_to_scale():
    svg = draw([1, 2, 3], [0.0, 0.5, 1.0])
    (line,) = points(svg)
    assert [x for x, _ in line] == [LEFT, (LEFT + WIDTH - RIGHT) / 2, WIDTH - RIGHT]
    assert line[2][1] == TOP
    assert line[1][1] == pytest.approx((line[0][1] + line[2][1]) / 2, abs=0.1)
    assert line[0][1] < HEIGHT


def test_missing_values_are_left_out_and_a_lone_value_is_a_dot():
    svg = draw([1, 2, 3], [math.nan, 0.4, math.nan], [0.1, math.nan, 0.3])
    assert [len(line) for line in points(svg)] == [2]
    assert svg.count('class="point s0"') == 1
    assert "nan" not in svg


def test_the_kept_epoch_is_marked_on_the_last_line():
    svg = draw([1, 2, 3], [0.0, 0.0, 0.0], [0.2, 0.8, 0.3], marks=Marks(2, []))
    assert "kept: epoch 2" in svg
    ring = re.search(r'class="ring" cx="([\d.]+)" cy="([\d.]+)"', svg)
    assert ring is not None
    assert (float(ring[1]), float(ring[2])) == points(svg)[1][1]
    assert "kept" not in draw([1, 2, 3], [0.0, 0.0, 0.0], marks=Marks(9, []))


def test_phases_are_parted_between_their_epochs_and_named():
    svg = draw([1, 2, 3, 4], [0.0, 0.0, 0.0, 0.0], marks=Marks(None, [(1, "head"), (3, "all")]))
    middle = (points(svg)[0][1][0] + points(svg)[0][2][0]) / 2
    assert f'class="phase" x1="{middle:.1f}"' in svg
    assert ">head<" in svg
    assert ">all<" in svg
    assert "phase" not in draw([1, 2], [0.0, 0.0], marks=Marks(None, [(1, "only")]))


def test_hover_tells_every_value_of_an_epoch():
    svg = draw([1, 2], [0.25, 0.5], [math.nan, 0.75])
    assert "<title>epoch 1: line 0 0.25</title>" in svg
    assert "<title>epoch 2: line 0 0.5, line 1 0.75</title>" in svg


def test_names_of_close_lines_do_not_overlap():
    heights = [
        float(y) for y in re.findall(r'class="name s\d" x="[\d.]+" y="([\d.]+)"', draw([1, 2], [0, 0.5], [0, 0.51]))
    ]
    assert abs(heights[0] - heights[1]) >= 14 - 0.11


def test_labels_are_escaped():
    svg = line_chart(
        [1, 2],
        [Line("<b>", "s", [0.0, 1.0])],
        key="k",
        title="<i>",
        marks=Marks(None, [(1, "<u>"), (2, "<s>")]),
        words=str,
        bounds=(0.0, 1.0),
    )
    assert not re.search(r"<[bius]>", svg)


def test_one_epoch_alone_is_drawn():
    assert 'class="point s0"' in draw([7], [0.5], marks=Marks(7, [(7, "a")]))


def test_an_interval_is_drawn_on_its_track_from_floor_to_one():
    svg = str(interval_bar(0.75, 0.5, 1.0, floor=0.5))
    assert 'class="band" x="2.0%" y="3" width="96.0%"' in svg
    assert 'class="dot" cx="50.0%"' in svg


@given(st.lists(st.floats(0, 1), min_size=1, max_size=4))
def test_names_at_the_ends_of_fractions_are_apart_and_not_among_the_words_of_the_axis(ends):
    traces = [Trace(f"line {k}", "train", [(0.0, 0.5), (1.0, end)]) for k, end in enumerate(ends)]
    svg = str(fraction_chart(traces, key="k", title="T", x_name="x"))
    heights = [float(y) for y in re.findall(r'class="name train" x="[\d.]+" y="([\d.]+)"', svg)]
    assert len(heights) == len(ends)
    assert max(heights) <= HEIGHT - BOTTOM + 0.05
    assert all(b - a > NAME_HEIGHT - 0.2 for a, b in itertools.pairwise(heights))
