"""What is recommended, and that nothing is where the facts do not support it."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from linnaeus.config.settings import parse_config
from linnaeus.report import advice
from linnaeus.report.advice import recommend
from linnaeus.report.page import render_report


def text_of(found) -> str:
    return f"{found.action} | {found.reason} | {found.command or ''}".replace("\xa0", " ")


@pytest.fixture
def good(make_facts):
    """A run that nothing can be said against: every answer right, many images, no problems."""
    history = pd.DataFrame(
        {
            "epoch": [1, 2, 3, 4],
            "phase": "all",
            "train_accuracy": 0.99,
            "validation_accuracy": 0.99,
            "validation_loss": [0.5, 0.2, 0.2, 0.2],
        }
    )
    facts = make_facts(("ant", "bee", "cow"), share_right=1.0, per_class=300, problems=[], history=history)
    return dataclasses.replace(facts, kept_epoch=2)


def test_nothing_is_recommended_without_a_reason_and_the_page_says_so(good):
    assert recommend(good) == []
    assert "Nothing that these figures would support" in render_report(good)


def test_copies_in_the_test_set_are_counted_and_the_score_without_them_is_told(good):
    test = good.evaluation["test"]
    rest = {**test, "num_images": test["num_images"] - 6, "accuracy": {"value": 0.931, "low": 0.9, "high": 0.95}}
    facts = dataclasses.replace(good, evaluation={**good.evaluation, "test_without_duplicates": rest})
    found = text_of(advice.divide_anew(facts))
    assert "Take 6 copies out of the test set" in found
    assert "2.0 % of the test images" in found
    assert "without them accuracy is 93.1 %, not 100 %" in found


def test_suspicious_labels_are_counted(good):
    issues = pd.DataFrame({"given": ["ant", "ant", "bee"], "suggested": ["bee", "bee", "cow"], "id": list("abc")})
    found = text_of(advice.relabel(dataclasses.replace(good, label_issues=issues)))
    assert "Relabel these 3" in found
    assert "Most often (2) ant that may be bee." in found
    assert advice.relabel(dataclasses.replace(good, label_issues=issues.iloc[:0])) is None


def test_of_more_suspicious_labels_than_can_be_wrong_only_the_first_are_recommended(good):
    doubted = pd.DataFrame({"given": "ant", "suggested": "bee", "id": [f"{k}" for k in range(101)]})
    found = text_of(advice.relabel(dataclasses.replace(good, label_issues=doubted)))
    assert "Look through the 100 most suspicious labels | 101 look wrong, in 16.8 % of the images." in found
    assert "Relabel these 89" in text_of(advice.relabel(dataclasses.replace(good, label_issues=doubted.iloc[:89])))


def test_images_of_a_kind_that_fares_worse_are_asked_for(good):
    row = {"column": "brightness", "value": "16 to 77", "num_images": 27, "score": {"value": 0.412}, "rest": 0.5}
    for worse in (True, False):
        found = {"slices": [{**row, "worse": worse}], "num_tested": 4}
        words = advice.help_slice(dataclasses.replace(good, evaluation={**good.evaluation, "slices": found}))
        assert (words is not None) == worse
        if words is not None:
            assert "Collect more images with brightness 16 to 77" in text_of(words)
            assert "The 27 test images of that kind" in text_of(words)
            assert "41.2 % right, against 50.0 % for the rest" in text_of(words)
    assert advice.help_slice(good) is None


def test_classes_with_few_training_images_are_named_with_their_number(make_facts, good):
    facts = make_facts(("ant", "bee", "cow"), per_class=21)  # 7 of each in training
    for name, recall in (("ant", 0.5), ("bee", 1.0), ("cow", 0.6)):
        facts.evaluation["test"]["per_class"][name]["recall"] = recall
    found = text_of(advice.collect_more(facts))
    assert "Collect more of ant and cow" in found
    assert "ant: 7 training images, 50.0 % found" in found
    good.evaluation["test"]["per_class"]["cow"]["recall"] = 0.2
    assert advice.collect_more(good) is None, "a poor class that is as large as the others needs something else"


def test_rare_classes_get_weight_only_if_they_are_rare_and_fare_worse(make_facts, monkeypatch):
    monkeypatch.setattr(advice, "recipe_names", lambda: ["best-imbalanced"])
    facts = make_facts(("ant", "bee"), per_class=60)
    test = facts.evaluation["test"]
    test["balanced_accuracy"]["value"] = test["accuracy"]["value"] - 0.2
    assert advice.weigh_rare_classes(facts) is None, "both classes are of one size"
    rare = np.flatnonzero((facts.manifest.targets == 0) | (np.arange(120) < 75))
    uneven = dataclasses.replace(facts, manifest=facts.manifest.take(rare))
    assert "--recipe best-imbalanced" in text_of(advice.weigh_rare_classes(uneven))
    assert "20 points below accuracy" in text_of(advice.weigh_rare_classes(uneven))
    monkeypatch.setattr(advice, "recipe_names", list)
    assert advice.weigh_rare_classes(uneven) is None, "a recipe that is not there is not recommended"


def test_a_pair_behind_many_mistakes_is_named(good):
    test = {**good.evaluation["test"], "confusion": [[80, 12, 0], [3, 90, 1], [0, 0, 100]]}
    found = text_of(advice.tell_pair_apart(dataclasses.replace(good, evaluation={"test": test})))
    assert "Tell ant from bee" in found
    assert "15 of 16 mistakes (93.8 %)" in found
    test["confusion"] = [[90, 3, 3], [3, 90, 3], [3, 3, 90]]
    assert advice.tell_pair_apart(dataclasses.replace(good, evaluation={"test": test})) is None, "too few to matter"


def test_longer_training_is_advised_only_while_it_still_helped(good):
    falling = good.history.assign(validation_loss=[0.9, 0.7, 0.6, 0.5])
    facts = dataclasses.replace(good, history=falling, kept_epoch=4)
    assert "--epochs 8" in text_of(advice.train_longer(facts))
    assert advice.train_longer(dataclasses.replace(facts, kept_epoch=3)) is None
    flat = good.history.assign(validation_loss=[0.9, 0.51, 0.505, 0.5])
    assert advice.train_longer(dataclasses.replace(facts, history=flat)) is None


def test_a_model_that_knows_its_images_by_heart_is_told_from_one_that_does_not(good):
    facts = dataclasses.replace(good, history=good.history.assign(validation_accuracy=0.8))
    found = text_of(advice.vary_more(facts))
    assert "99.0 % of the training images are right, but 80.0 %" in found
    assert advice.vary_more(good) is None


def test_mirror_views_are_advised_where_validation_says_they_help(good):
    offer = {"score": "accuracy", "now": 0.88, "then": 0.91, "low": 0.01, "high": 0.05, "p_value": 0.01, "helps": True}
    facts = dataclasses.replace(good, evaluation={**good.evaluation, "offers": {"mirror_views": offer}})
    assert "from 88.0 % to 91.0 %" in text_of(advice.mirror_views(facts))
    assert "--set evaluate.views=mirror" in text_of(advice.mirror_views(facts))
    offer["helps"] = False
    assert advice.mirror_views(facts) is None
    assert advice.mirror_views(good) is None


def test_unreadable_files_are_counted(good):
    assert "Mend 1 unreadable file |" in text_of(advice.mend_files(dataclasses.replace(good, problems=[("a", "b")])))
    assert advice.mend_files(good) is None


def test_more_test_images_are_asked_for_by_the_width_of_the_interval(good):
    test = {**good.evaluation["test"], "num_images": 100, "accuracy": {"value": 0.9, "low": 0.85, "high": 0.95}}
    found = text_of(advice.test_on_more(dataclasses.replace(good, evaluation={"test": test})))
    assert "Label about 300 more test images" in found  # twice as narrow takes four times as many
    assert "10.0 points wide" in found


def test_a_backbone_is_advised_for_few_large_images_only(good):
    large = parse_config({"image": {"size": 128}, "model": {"name": "speed_cnn"}})
    assert "--backbone" in text_of(advice.take_a_backbone(dataclasses.replace(good, config=large)))
    assert advice.take_a_backbone(good) is None, "32 px"
    other = parse_config({"image": {"size": 128}, "model": {"name": "resnet18"}})
    assert advice.take_a_backbone(dataclasses.replace(good, config=other)) is None
