"""The section on balancing: when it is there, and what it says in words."""

import numpy as np

from linnaeus.config.settings import parse_config
from linnaeus.judging.balancing import balance_effect
from linnaeus.report.balancing import make_balancing
from linnaeus.report.page import render_report


def balancing_facts(make_facts, *, rightly):
    facts = make_facts(config=parse_config({"data": {"balance": "oversample"}, "image": {"size": 32}}))
    test = facts.predictions.of_split(2)
    logits = np.eye(3, dtype=np.float32)[test.targets if rightly else (test.targets + 1) % 3]
    balanced = type(test)(test.ids, logits, test.targets, test.classes, test.splits, test.manifest_fingerprint)
    facts.evaluation["balancing"] = balance_effect(balanced, test, train_counts=np.array([9, 5, 2]))
    return facts


def test_without_balancing_there_is_no_section(make_facts):
    assert make_balancing(make_facts()) is None


def test_where_one_run_cannot_tell_it_says_how_to_find_out(make_facts):
    config = parse_config({"loss": {"class_weights": "balanced"}, "image": {"size": 32}})
    section = make_balancing(make_facts(config=config))
    assert "compare" in section.sentences[0] and section.rows == []


def test_rare_and_common_classes_have_a_sentence_and_their_rows_each(make_facts):
    facts = balancing_facts(make_facts, rightly=False)
    section = make_balancing(facts)
    assert section.sentences[0].startswith("Of 8\xa0validation images of the rare classes balancing got 0 right")
    assert "0\xa0% with it" in section.sentences[0]
    assert [row.what for row in section.rows[:4]] == ["Rare classes: cow"] * 2 + ["Common classes: ant"] * 2
    assert section.rows[0].score == "recall" and section.rows[0].with_ == "0" and section.rows[0].change[0] == "−"
    assert "What balancing did" in render_report(facts)
