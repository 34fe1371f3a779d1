"""Slices: bad ones are found, chance is not taken for one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linnaeus.judging.slices import find_slices
from linnaeus.statistics.slices import MINIMUM_SUPPORT, holm


def test_a_planted_bad_slice_comes_first_and_is_called_worse():
    rng = np.random.default_rng(0)
    camera = rng.choice(["A", "B", "C"], 1500)
    brightness = rng.random(1500)
    scores = (rng.random(1500) < np.where((camera == "B"), 0.75, 0.95)).astype(float)
    found = find_slices(scores, {"camera": camera, "brightness": brightness}, groups=None, confidence=0.95)
    first = found.slices[0]
    assert (first.column, first.value, first.worse) == ("camera", "B", True)
    assert first.score.value == scores[camera == "B"].mean()
    assert first.score.low < 0.75 < first.score.high
    assert first.rest == scores[camera != "B"].mean()
    assert [row.worse for row in found.slices].count(True) == 1
    assert found.num_tested == 3 + 4


def test_numbers_are_divided_at_quartiles_and_a_dark_end_is_found():
    rng = np.random.default_rng(1)
    brightness = rng.uniform(0, 255, 1200)
    scores = (rng.random(1200) < np.where(brightness < 60, 0.7, 0.95)).astype(float)
    first = find_slices(scores, {"brightness": brightness}, groups=None, confidence=0.95).slices[0]
    assert first.worse and first.value.startswith(f"{brightness.min():.4g} to")
    assert first.num_images == 300


@pytest.mark.parametrize("whole", [True, False])
def test_among_many_columns_of_noise_a_false_alarm_is_rare(whole):
    rng = np.random.default_rng(2)
    alarms = 0
    for _ in range(150):
        scores = (rng.random(400) < 0.9).astype(float) if whole else rng.random(400)
        columns = {f"c{k}": rng.integers(0, 4, 400).astype(str) for k in range(6)} | {"x": rng.normal(size=400)}
        alarms += any(row.worse for row in find_slices(scores, columns, groups=None, confidence=0.95).slices)
    assert alarms <= 15  # 7.5 expected at most; more than 15 has a chance of 0.5 %


def test_the_same_images_are_one_slice_whatever_tells_them():
    rng = np.random.default_rng(3)
    side = rng.uniform(10, 90, 400)
    scores = (rng.random(400) < np.where(side < 30, 0.8, 0.95)).astype(float)
    once = find_slices(scores, {"side": side}, groups=None, confidence=0.95)
    odd = (np.arange(400) % 2).astype(str)
    twice = find_slices(scores, {"side": side, "area": side**2, "odd": odd}, groups=None, confidence=0.95)
    assert (once.num_tested, twice.num_tested, len(twice.slices)) == (4, 6, 6)
    first = twice.slices[0]
    assert first.column == "side" and first.num_images == 100
    assert len(first.same_images) == 1 and first.same_images[0].startswith("area: ")
    assert next(row for row in twice.slices if row.column == "odd").same_images == []


def test_small_slices_missing_values_and_columns_without_a_second_value_are_not_looked_at():
    values = np.array(["a"] * 50 + ["b"] * (MINIMUM_SUPPORT - 1) + [None] * 40 + [""] * 40, object)
    columns = {"x": values, "y": np.full(len(values), 3.0), "z": np.full(len(values), np.nan)}
    found = find_slices(np.ones(len(values)), columns, groups=None, confidence=0.95)
    assert [(row.column, row.value) for row in found.slices] == [("x", "a")]
    assert not found.slices[0].worse


def test_a_slice_that_is_a_single_group_is_never_called_worse():
    groups = np.repeat(np.arange(30), 20)
    scores = np.where(groups == 3, 0.0, 1.0)
    scores[::40] = 0.0
    columns = {"letterbox": np.where(groups == 3, "there", "elsewhere")}
    assert find_slices(scores, columns, groups=None, confidence=0.95).slices[0].worse
    found = find_slices(scores, columns, groups=groups, confidence=0.95).slices[0]
    assert (found.value, found.num_groups, found.p_value, found.worse) == ("there", 1, 1.0, False)
    assert (found.score.low, found.score.high) == (0.0, 1.0)


def test_a_bad_slice_of_many_groups_is_found():
    rng = np.random.default_rng(4)
    groups = np.repeat(np.arange(80), 8)
    camera = np.where(rng.random(80) < 0.4, "A", "B")[groups]
    scores = (rng.random(80)[groups] < np.where(camera == "A", 0.6, 0.95)).astype(float)
    first = find_slices(scores, {"camera": camera}, groups=groups, confidence=0.95).slices[0]
    assert first.value == "A" and first.worse and first.num_groups == len(np.unique(groups[camera == "A"]))
    all_wrong = np.where(camera == "A", 0.0, 1.0)
    first = find_slices(all_wrong, {"camera": camera}, groups=groups, confidence=0.95).slices[0]
    assert first.worse and 0 < first.p_value < 1e-6


@pytest.mark.parametrize("num_groups", [15, 60])
def test_among_columns_of_noise_that_groups_share_a_false_positive_is_rare(num_groups):
    rng = np.random.default_rng(5)
    alarms = dict.fromkeys((True, False), 0)
    for _ in range(60):
        groups = np.repeat(np.arange(num_groups), rng.choice([4, 8, 24], num_groups))
        scores = (rng.random(num_groups)[groups] < 0.85).astype(float)
        columns = {f"c{k}": rng.integers(0, 3, num_groups).astype(str)[groups] for k in range(3)}
        columns["x"] = rng.normal(size=num_groups)[groups] + 0.3 * rng.normal(size=len(groups))
        for known in alarms:
            found = find_slices(scores, columns, groups=groups if known else None, confidence=0.95)
            alarms[known] += any(row.worse for row in found.slices)
    assert alarms[True] <= 7 and alarms[False] > 40  # 3 expected at most; more than 7 has a chance of 1 %


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
@settings(max_examples=100, deadline=None)
def test_holm_rejects_what_its_step_down_rule_rejects(p_values):
    corrected = holm(p_values)
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    rejected = set()
    for place, k in enumerate(order):
        if not p_values[k] * (len(p_values) - place) < 0.05:
            break
        rejected.add(k)
    assert {k for k, p in enumerate(corrected) if p < 0.05} == rejected
