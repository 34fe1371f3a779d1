"""The section on balancing: when it is there, and the numbers that it tells."""

import dataclasses

import numpy as np
from tests.report.reading import Page, numbers, present
from tests.settled import settled

from linnaeus.judging.balancing import balance_effect
from linnaeus.report.balancing import make_balancing
from linnaeus.report.page import render_report


def balancing_facts(make_facts, *, rightly):
    facts = make_facts(config=settled({"data": {"balance": "oversample"}}))
    test = facts.predictions.of_split(2)
    logits = np.eye(3, dtype=np.float32)[test.targets if rightly else (test.targets + 1) % 3]
    effect = balance_effect(
        dataclasses.replace(test, logits=logits), test, train_counts=np.array([9, 5, 2]), groups=None, seed=0
    )
    return dataclasses.replace(facts, evaluation=facts.evaluation.model_copy(update={"balancing": effect}))


def test_without_balancing_there_is_no_section(make_facts):
    assert make_balancing(make_facts()) is None


def test_where_one_run_cannot_tell_it_says_how_to_find_out(make_facts):
    config = settled({"loss": {"class_weights": "balanced"}})
    section = make_balancing(make_facts(config=config))
    assert section is not None
    assert "compare" in section.sentences[0] and section.rows == []


def test_rare_and_common_classes_have_a_sentence_and_their_rows_each(make_facts):
    facts = balancing_facts(make_facts, rightly=False)
    section, rare = make_balancing(facts), facts.evaluation.balancing.rare
    assert (rare.num_images, rare.only_with, rare.recall.with_balancing) == (8, 0, 0.0)
    assert section is not None
    told = numbers(section.sentences[0])
    assert told[:3] == [8, 0, rare.only_without] and told[4] == 0
    assert [row.what for row in section.rows[:4]] == ["Rare classes: cow"] * 2 + ["Common classes: ant"] * 2
    assert section.rows[0].score == "recall" and section.rows[0].with_ == "0" and section.rows[0].change[0] == "−"
    assert "balancing" in Page(render_report(facts)).ids


def test_it_is_told_whether_what_balancing_did_is_significant(make_facts):
    for rightly, word in ((True, "better"), (False, "worse")):
        facts = balancing_facts(make_facts, rightly=rightly)
        rare = facts.evaluation.balancing.rare
        for p_value, significant in ((0.04, True), (0.06, False)):
            changed = facts.evaluation.balancing.model_copy(
                update={"rare": rare.model_copy(update={"p_value": p_value})}
            )
            evaluation = facts.evaluation.model_copy(update={"balancing": changed})
            told = present(make_balancing(dataclasses.replace(facts, evaluation=evaluation))).sentences[0]
            assert (f"significantly {word}" in told) == significant
            assert f"p = {p_value}" in told
