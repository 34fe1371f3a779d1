"""Calibration, selective prediction, prediction sets, out of distribution, slices, targets: the numbers they tell."""

import re
from dataclasses import replace

import numpy as np
import pytest
from tests.report.editing import edit, score
from tests.report.reading import Page, numbers, present

from linnaeus.config.settings import EvaluateConfig
from linnaeus.judging.judge import Submission, SubmittedFeatures, judge
from linnaeus.report.calibration import make_calibration
from linnaeus.report.ood import make_ood
from linnaeus.report.page import render_report
from linnaeus.report.prediction_sets import make_prediction_sets
from linnaeus.report.selective import make_selective
from linnaeus.report.slices import make_slices
from linnaeus.report.targets import make_targets
from linnaeus.report.wording import figure
from linnaeus.report.xy_chart import Trace, fraction_chart

CLASSES = ("ant", "<script>", "cow")
SECTIONS = {"calibration", "selective", "prediction_sets", "ood", "slices", "targets"}


@pytest.fixture
def facts(make_facts):
    """Facts of a run with everything that can be said of its trustworthiness: left of the camera it errs."""
    plain = make_facts(CLASSES, per_class=180)
    test = plain.predictions.of_split(2)
    camera = np.where(test.predicted == test.targets, "right", "<b>left")
    config = EvaluateConfig(bootstrap_samples=100, targets=["recall:<script>=0.99", "precision:ant=1"])
    features = [np.random.default_rng(k).normal(size=(180, 4)) for k in range(3)]
    submission = Submission(
        replace(plain.predictions, temperature=1.0, operating_point=None),
        columns={"camera": camera},
        features=SubmittedFeatures(*features),
    )
    found = judge(submission, config, seed=0)
    return replace(plain, predictions=found.predictions, evaluation=found.evaluation)


def shown(*fractions):
    """The numbers of these fractions in percent, as the page writes them."""
    return {float(figure(fraction)) for fraction in fractions}


def test_the_page_has_every_section_and_escapes_names(facts):
    html = render_report(facts)
    assert Page(html).ids >= SECTIONS
    assert "&lt;b&gt;left" in html and "<b>left" not in html
    assert "<script>" in Page(html).within("targets"), "as text"


def test_nothing_is_said_where_nothing_is_known(make_facts):
    evaluation = edit(
        make_facts().evaluation, {"prediction_sets": None, "ood": None, "selective_prediction/points": []}
    )
    for make in (make_prediction_sets, make_ood, make_selective, make_slices, make_targets):
        assert make(evaluation) is None, make.__name__


def test_calibration_tells_the_error_before_and_after_and_its_interval(facts):
    evaluation = facts.evaluation
    change, ece = evaluation.calibration.test, evaluation.test.ece
    before_and_after, own = make_calibration(evaluation).sentences
    assert shown(change.before.ece, change.after.ece) <= set(numbers(before_and_after))
    assert float(f"{evaluation.calibration.temperature:.2f}") in numbers(before_and_after)
    assert numbers(own.replace("–", " ")) == [float(figure(value)) for value in (ece.value, ece.low, ece.high)]


@pytest.mark.parametrize(("low", "by_chance"), [(0.0, True), (0.01, False)])
def test_an_error_that_a_calibrated_model_would_show_is_said_to_be_one(facts, low, by_chance):
    sentence = make_calibration(edit(facts.evaluation, {"test/ece": score(0.02, low, 0.03)})).sentences[-1]
    assert ("perfectly calibrated model" in sentence) == by_chance


def test_predictions_that_were_brought_as_probabilities_have_no_before(facts):
    section = make_calibration(edit(facts.evaluation, {"calibration/test/before": None, "calibration/temperature": 1}))
    assert len(section.sentences) == 1
    assert str(section.charts[0][1]).count("<polyline") == 1
    assert str(make_calibration(facts.evaluation).charts[0][1]).count("<polyline") == 2


def test_prediction_sets_tell_what_was_asked_for_what_they_keep_and_their_size(facts):
    sets = facts.evaluation.prediction_sets
    coverage, size = present(make_prediction_sets(facts.evaluation))
    assert numbers(coverage)[0] == 100 * sets.target_coverage
    assert shown(sets.coverage.value, sets.coverage.low, sets.coverage.high) <= set(numbers(coverage.replace("–", " ")))
    assert numbers(size) == [float(f"{sets.mean_size:.2f}"), float(figure(sets.sizes[0]))]
    missed = edit(facts.evaluation, {"prediction_sets/coverage": score(0.8, 0.7, 0.85)})
    assert "target not reached" in present(make_prediction_sets(missed))[0]
    kept = edit(facts.evaluation, {"prediction_sets/coverage": score(0.8, 0.7, 0.95)})
    assert "target not reached" not in present(make_prediction_sets(kept))[0]


def test_flagged_images_and_the_accuracy_on_them_and_on_the_others_are_told(facts):
    found = facts.evaluation.ood
    first = present(make_ood(facts.evaluation))[0]
    assert {99.0, *shown(found.flagged.value)} <= set(numbers(first.replace("–", " ")))
    both = edit(
        facts.evaluation, {"ood/accuracy_in_distribution": score(0.9), "ood/accuracy_flagged": score(0.4, 0.2, 0.6)}
    )
    assert numbers(present(make_ood(both))[1].replace("–", " ")) == [40.0, 20.0, 60.0, 90.0]
    assert len(present(make_ood(edit(both, {"ood/accuracy_flagged": None})))) == 1


def test_selective_prediction_draws_the_curve_and_tells_the_goals(facts):
    section = make_selective(facts.evaluation)
    goals = facts.evaluation.selective_prediction.goals
    assert section is not None
    for sentence, goal in zip(section.goals, goals, strict=False):
        assert numbers(sentence) == [
            float(figure(goal.coverage)),
            float(f"{goal.threshold:.2f}"),
            float(figure(goal.accuracy)),
        ]
    assert "chart-selective" in str(section.charts[0][1])


def test_slices_are_counted_and_the_worst_stands_first(facts):
    section = make_slices(facts.evaluation)
    worst = facts.evaluation.slices.slices[0]
    assert section is not None
    assert (section.rows[0].value, section.rows[0].worse) == ("<b>left", True)
    assert section.rows[0].fraction == worst.score.value == min(row.fraction for row in section.rows) < worst.rest
    assert numbers(section.verdict) == [1, facts.evaluation.slices.num_tested]
    rows = [each.model_dump() | {"worse": False} for each in facts.evaluation.slices.slices]
    none = make_slices(edit(facts.evaluation, {"slices/slices": rows}))
    assert none is not None
    assert numbers(none.verdict) == [facts.evaluation.slices.num_tested] and not none.rows[0].worse


def test_targets_tell_what_was_asked_for_and_whether_it_is_met(facts):
    section, point = make_targets(facts.evaluation), facts.evaluation.operating_point
    assert section is not None
    assert [row.met for row in section.rows] == [target.met for target in point.targets]
    for row, target in zip(section.rows, point.targets, strict=True):
        assert target.class_name in row.target and target.score in row.target
        assert numbers(row.target) == [100 * target.target]
        assert numbers(row.test)[0] == float(figure(target.test.value))
    if point.num_changed is not None:
        assert numbers(section.sentences[0])[0] == point.num_changed


def test_a_chart_maps_fractions_to_places():
    chart = fraction_chart([Trace("a", "train", [(0.0, 0.5), (1.0, 1.0)])], key="k", title="t", x_name="x", floor=0.5)
    (points,) = re.findall(r'points="([^"]*)"', str(chart))
    assert points == "44.0,226.0 366.0,26.0"
