"""Sections on what a model knows of its limits: words that follow the numbers, and nothing where there are none."""

import re

import numpy as np
import pytest
from linnaeus.judging.settle import describe_settled, settle
from linnaeus.report.limits import slices_of, sureness_of, wishes_of
from scipy.special import softmax

from linnaeus.judging.conformal import calibrate_sets, describe_sets
from linnaeus.judging.score_table import table_of
from linnaeus.judging.selective import abstention_curve
from linnaeus.report.page import render_report
from linnaeus.report.xy_chart import Trace, share_chart
from linnaeus.statistics.slices import find_slices


@pytest.fixture
def facts(make_facts):
    """Facts of a run with everything that `limits` speaks of."""
    plain = make_facts(("ant", "<script>", "cow"), per_class=180)
    predictions = plain.predictions
    validation, test = predictions.of_split(1), predictions.of_split(2)
    config = plain.config.evaluate.model_copy(update={"require": ["recall:<script>=0.99", "precision:ant=1"]})
    settled = settle(validation, config)
    applied = settled.applied(test)
    right = applied.predicted == applied.targets
    rule = calibrate_sets(softmax(validation.logits.astype(float), axis=1), validation.targets, coverage=0.9, seed=0)
    camera = np.where(np.arange(len(test)) % 2 == 0, "<b>left", "right")
    evaluation = {
        **plain.evaluation,
        **describe_settled(settled, validation=validation, test=test, confidence=0.95),
        "abstention": abstention_curve(applied.probabilities.max(axis=1), right, level=0.95),
        "prediction_sets": describe_sets(table_of(applied), rule, confidence=0.95),
        "slices": find_slices((right & (camera == "right")).astype(float), {"camera": camera}, confidence=0.95),
    }
    return make_facts(("ant", "<script>", "cow"), per_class=180, evaluation=evaluation)


def test_the_page_shows_every_section_and_escapes_names(facts):
    page = render_report(facts)
    for anchor in ("sureness", "slices", "wishes"):
        assert f'id="{anchor}"' in page
    assert "&lt;b&gt;left" in page and "<b>left" not in page
    assert "recall of &lt;script&gt;" in page


def test_nothing_is_said_where_nothing_is_known(make_facts):
    evaluation = make_facts().evaluation
    assert sureness_of(evaluation) is None and slices_of(evaluation) is None and wishes_of(evaluation) is None


def test_sentences_hold_the_numbers(facts):
    section = sureness_of(facts.evaluation)
    found = facts.evaluation["prediction_sets"]
    assert section is not None and section.sets is not None
    assert f"{found['mean_size']:.2f} classes" in section.sets
    assert ("not kept" in section.sets) == (found["coverage"]["high"] < 0.9)
    slices = slices_of(facts.evaluation)
    assert slices is not None and slices.rows[0].value == "<b>left" and slices.rows[0].worse
    assert slices.verdict.startswith("1")
    wishes = wishes_of(facts.evaluation)
    assert wishes is not None and [met for _, _, met, _ in wishes.rows] == [
        wish["met"] for wish in facts.evaluation["operating_point"]["wishes"]
    ]


def test_a_chart_maps_shares_to_places():
    chart = share_chart([Trace("a", "train", [(0.0, 0.5), (1.0, 1.0)])], key="k", title="t", x_name="x", floor=0.5)
    (points,) = re.findall(r'points="([^"]*)"', str(chart))
    assert points == "44.0,226.0 366.0,26.0"
