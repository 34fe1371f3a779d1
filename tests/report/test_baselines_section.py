"""The section on baselines: when it is there, and what it dares to say."""

from tests.report.editing import difference, edited, score
from tests.report.reading import Page, numbers, present

from linnaeus.report.baselines import make_baselines_section
from linnaeus.report.page import render_report


def facts_with(make_facts, centroid, neighbours):
    """Facts with two baselines; each is how much the model is better, the low end of that, and its p value."""
    facts = make_facts()
    scores = facts.evaluation.test.model_copy(update={"per_class": None, "confusion": None}).model_dump(mode="json")
    scores["accuracy"] = score(0.5, 0.4, 0.6)
    entries = [
        {
            "test": scores,
            "validation": scores,
            "model_minus_baseline": difference(value, low=low, p_value=p_value),
            "num_neighbours": number,
        }
        for (value, low, p_value), number in ((centroid, None), (neighbours, 5))
    ]
    return edited(facts, {"baselines": dict(zip(("nearest_centroid", "nearest_neighbours"), entries, strict=True))})


def test_without_features_there_is_no_section(make_facts):
    assert make_baselines_section(make_facts().evaluation) is None


def test_a_model_that_beats_them_all_is_measured_against_the_best(make_facts):
    facts = facts_with(make_facts, (0.3, 0.2, 0.001), (0.1, 0.05, 0.02))
    section = make_baselines_section(facts.evaluation)
    assert section is not None
    assert [row.name for row in section.rows] == [
        "Nearest class mean",
        "Votes of the 5\xa0nearest training images",
        "This model",
    ]
    assert [row.fraction for row in section.rows] == [0.5, 0.5, facts.evaluation.test.accuracy.value]
    assert numbers(section.verdict) == [10.0, 5.0, 15.0, 0.02]
    assert "baselines" in Page(render_report(facts)).ids


def test_a_model_that_is_not_significantly_better_than_one_of_them_is_told_so(make_facts):
    close, worse, good = (0.02, -0.01, 0.3), (-0.2, -0.3, 0.001), (0.3, 0.2, 0.001)
    for first, second, named in ((close, good, "class mean"), (good, worse, "votes"), (good, close, "votes")):
        verdict = present(make_baselines_section(facts_with(make_facts, first, second).evaluation)).verdict
        assert "not significantly better" in verdict and named in verdict and numbers(verdict) in ([], [5])
