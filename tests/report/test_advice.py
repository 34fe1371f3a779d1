"""What is recommended, and that nothing is where the facts do not support it."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from tests.report.editing import difference, edited, score
from tests.report.reading import Page, numbers, present
from tests.settled import settled

from linnaeus.report import advice
from linnaeus.report.advice import recommend
from linnaeus.report.page import render_report


def told(found) -> list[float]:
    """The numbers of a recommendation, those of what to do first."""
    return numbers(f"{found.action} | {found.reason}")


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
    facts = make_facts(("ant", "bee", "cow"), accuracy=1.0, per_class=300, problems=[], history=history)
    return dataclasses.replace(facts, kept_epoch=2)


def test_nothing_is_recommended_without_a_reason_and_the_page_says_so(good):
    assert recommend(good) == []
    read = Page(render_report(good))
    assert "advice" in read.ids and read.within("advice") and "advice" not in {t.get("class") for t in read.all("ol")}


def test_copies_in_the_test_set_are_counted_and_the_score_without_them_is_told(good):
    rest = good.evaluation.test.model_dump(mode="json")
    rest |= {"num_images": rest["num_images"] - 6, "accuracy": score(0.931, 0.9, 0.95)}
    found = advice.divide_anew(edited(good, {"test_without_duplicates": rest}))
    assert told(found) == [6, 2.0, 93.1, 100]
    assert found is not None
    assert "accuracy" in found.reason


def test_suspicious_labels_are_counted(good):
    issues = pd.DataFrame({"given": ["ant", "ant", "bee"], "suggested": ["bee", "bee", "cow"], "id": list("abc")})
    found = advice.relabel(dataclasses.replace(good, label_issues=issues))
    assert told(found) == [3, 2]
    assert found is not None
    assert "ant" in found.reason and "bee" in found.reason and "cow" not in found.reason
    assert advice.relabel(dataclasses.replace(good, label_issues=issues.iloc[:0])) is None


def test_of_more_suspicious_labels_than_can_be_wrong_only_the_first_are_recommended(good):
    doubted = pd.DataFrame({"given": "ant", "suggested": "bee", "id": [f"{k}" for k in range(101)]})
    assert told(advice.relabel(dataclasses.replace(good, label_issues=doubted))) == [100, 101, 16.8]
    assert told(advice.relabel(dataclasses.replace(good, label_issues=doubted.iloc[:89])))[0] == 89


@pytest.mark.parametrize("worse", [True, False])
def test_images_of_a_kind_that_fares_worse_are_asked_for(good, worse):
    row = {"column": "brightness", "value": "16 to 77", "same_images": [], "num_images": 27}
    row |= {"score": score(0.412), "rest": 0.5, "p_value": 0.01, "worse": worse}
    found = advice.help_slice(edited(good, {"slices/slices": [row]}))
    assert (found is not None) == worse
    if found is not None:
        assert "brightness 16 to 77" in found.action
        assert numbers(found.reason) == [27, 0.01, 41.2, 50.0]
    assert advice.help_slice(good) is None


def test_classes_with_few_training_images_are_named_with_their_number(make_facts, good):
    recalls = {f"test/per_class/{name}/recall": recall for name, recall in (("ant", 0.5), ("bee", 1.0), ("cow", 0.6))}
    found = advice.collect_more(edited(make_facts(("ant", "bee", "cow"), per_class=21), recalls))  # 7 in training
    assert found is not None
    assert "ant" in found.action and "cow" in found.action and "bee" not in found.action
    assert numbers(found.reason)[:4] == [7, 50.0, 7, 60.0]
    poor = edited(good, {"test/per_class/cow/recall": 0.2})
    assert advice.collect_more(poor) is None, "a poor class that is as large as the others needs something else"


def test_rare_classes_get_weight_only_if_they_are_rare_and_fare_worse(make_facts, monkeypatch):
    monkeypatch.setattr(advice, "recipe_names", lambda: ["best-imbalanced"])
    plain = make_facts(("ant", "bee"), per_class=60)
    facts = edited(plain, {"test/balanced_accuracy/value": plain.evaluation.test.accuracy.value - 0.2})
    assert advice.weigh_rare_classes(facts) is None, "both classes are of one size"
    rare = np.flatnonzero((facts.manifest.targets == 0) | (np.arange(120) < 75))
    uneven = dataclasses.replace(facts, manifest=facts.manifest.take(rare))
    found = advice.weigh_rare_classes(uneven)
    assert found is not None
    assert "--recipe best-imbalanced" in present(found.command)
    assert numbers(found.reason) == [4, 20], "times the images, and points below accuracy"
    monkeypatch.setattr(advice, "recipe_names", list)
    assert advice.weigh_rare_classes(uneven) is None, "a recipe that is not there is not recommended"


def test_a_pair_behind_many_mistakes_is_named(good):
    found = advice.tell_pair_apart(edited(good, {"test/confusion": [[80, 12, 0], [3, 90, 1], [0, 0, 100]]}))
    assert found is not None
    assert "ant" in found.action and "bee" in found.action
    assert numbers(found.reason)[:3] == [15, 16, 93.8]
    few = edited(good, {"test/confusion": [[90, 3, 3], [3, 90, 3], [3, 3, 90]]})
    assert advice.tell_pair_apart(few) is None, "too few to matter"


def test_longer_training_is_advised_only_while_it_still_helped(good):
    falling = good.history.assign(validation_loss=[0.9, 0.7, 0.6, 0.5])
    facts = dataclasses.replace(good, history=falling, kept_epoch=4)
    assert "--epochs 8" in present(present(advice.train_longer(facts)).command)
    assert advice.train_longer(dataclasses.replace(facts, kept_epoch=3)) is None
    flat = good.history.assign(validation_loss=[0.9, 0.51, 0.505, 0.5])
    assert advice.train_longer(dataclasses.replace(facts, history=flat)) is None


def test_a_model_that_knows_its_images_by_heart_is_told_from_one_that_does_not(good):
    facts = dataclasses.replace(good, history=good.history.assign(validation_accuracy=0.8))
    assert told(advice.vary_more(facts)) == [99.0, 80.0]
    assert advice.vary_more(good) is None


@pytest.mark.parametrize(("value", "p_value", "helps"), [(0.03, 0.01, True), (0.03, 0.2, False), (-0.03, 0.01, False)])
def test_test_time_augmentation_is_advised_where_validation_says_that_it_helps(good, value, p_value, helps):
    found = advice.augment_at_test_time(
        edited(good, {"tta": difference(value, low=value - 0.02, p_value=p_value, first=0.88)})
    )
    assert (found is not None) == helps
    if found is not None:
        assert numbers(found.reason) == [88.0, 91.0, 0.01]
        assert "--set evaluate.tta=flip" in present(found.command)
    assert advice.augment_at_test_time(good) is None


def test_unreadable_files_are_counted(good):
    assert told(advice.mend_files(dataclasses.replace(good, problems=[("a", "b")]))) == [1]
    assert advice.mend_files(good) is None


@pytest.mark.parametrize(("num_groups", "what", "first"), [(None, "image", 100), (40, "group", 40)])
def test_more_test_images_are_asked_for_by_the_width_of_the_interval(good, num_groups, what, first):
    values = {"test/num_images": 100, "test/num_groups": num_groups, "test/accuracy": score(0.9, 0.85, 0.95)}
    found = advice.test_on_more(edited(good, values))
    assert found is not None
    assert what in found.action and numbers(found.action) == [3 * first]  # twice as narrow takes four times as many
    assert numbers(found.reason) == [first, 10.0, 5]


def test_a_backbone_is_advised_for_few_large_images_only(good):
    large = settled({"image": {"size": 128}})
    assert "--backbone" in present(present(advice.take_a_backbone(dataclasses.replace(good, config=large))).command)
    assert advice.take_a_backbone(good) is None, "32 px"
    other = settled({"image": {"size": 128}, "model": {"name": "resnet18"}})
    assert advice.take_a_backbone(dataclasses.replace(good, config=other)) is None
