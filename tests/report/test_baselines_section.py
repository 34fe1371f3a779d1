"""The section on baselines: when it is there, and what it dares to say."""

from linnaeus.report.baselines import make_baselines_section
from linnaeus.report.page import render_report


def baseline(value, *, low, beyond_noise):
    score = {"value": 0.5, "low": 0.4, "high": 0.6}
    gap = {"score": "accuracy", "value": value, "low": low, "high": value + 0.05, "beyond_noise": beyond_noise}
    return {"test": {"accuracy": score}, "validation": {"accuracy": score}, "model_minus_baseline": gap}


def facts_with(make_facts, centroid, neighbours):
    facts = make_facts()
    facts.evaluation["baselines"] = {
        "nearest_centroid": centroid,
        "nearest_neighbours": {**neighbours, "num_neighbours": 5},
    }
    return facts


def test_without_features_there_is_no_section(make_facts):
    assert make_baselines_section(make_facts()) is None


def test_a_model_that_beats_them_all_is_measured_against_the_best(make_facts):
    facts = facts_with(
        make_facts,
        baseline(0.3, low=0.2, beyond_noise=True),
        baseline(0.1, low=0.05, beyond_noise=True),
    )
    section = make_baselines_section(facts)
    assert [row.name for row in section.rows] == [
        "Nearest class mean",
        "Votes of the 5\xa0nearest training images",
        "This model",
    ]
    assert "paid off: the model is 10.0 points better than the best of these (5.0 to 15.0)" in section.verdict
    assert "Against no training at all" in render_report(facts)


def test_a_model_that_does_not_beat_one_of_them_beyond_chance_is_told_so(make_facts):
    close, worse = baseline(0.02, low=-0.01, beyond_noise=False), baseline(-0.2, low=-0.3, beyond_noise=True)
    good = baseline(0.3, low=0.2, beyond_noise=True)
    assert "better than the nearest class mean." in make_baselines_section(facts_with(make_facts, close, good)).verdict
    assert "not clearly paid off" in make_baselines_section(facts_with(make_facts, good, worse)).verdict
