"""The page where images have several labels: true to the scores, harmless, and silent about what it has no use for."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from tests.report.editing import edited
from tests.report.reading import HOSTILE, Page, numbers

from linnaeus.config.settings import EvaluateConfig
from linnaeus.judging.judge import Settled, Submission, judge
from linnaeus.judging.operating_point import Chosen
from linnaeus.report.co_occurrence import co_occurrence_table, make_co_occurrence
from linnaeus.report.facts import ReportFacts
from linnaeus.report.gallery import leading_label
from linnaeus.report.labels_gallery import make_label_galleries
from linnaeus.report.labels_headline import make_labels_headline, make_labels_scores
from linnaeus.report.labels_tables import make_label_mistakes, make_label_table
from linnaeus.report.page import render_report
from linnaeus.report.wording import figure


def test_the_headline_says_the_scores(make_label_facts: Callable[..., ReportFacts]) -> None:
    facts = make_label_facts()
    test, headline = facts.evaluation.test, make_labels_headline(facts)
    # 6 labels in all, 8 given, 5 of them right: F1 = 10 / 14.
    assert headline.figure == figure(5 / 7) == "71.4"
    assert headline.precision == f"{figure(5 / 8)}\xa0%" and headline.recall == f"{figure(5 / 6)}\xa0%"
    assert headline.subset_accuracy == "50.0\xa0%" == f"{figure(test.score('subset_accuracy').value)}\xa0%"
    assert headline.best is not None and headline.best.names == "tree"
    assert headline.worst is not None and headline.worst.names == "sky"
    # Sky for all six images: 3 right of 6 given, 6 wanted.
    assert headline.baseline == ("sky", "50.0\xa0%")
    assert headline.without == f"{figure(12 / 18)}\xa0%"


def test_what_to_know_before_relying_on_it(make_label_facts: Callable[..., ReportFacts]) -> None:
    checks = make_labels_scores(make_label_facts())
    notices = {notice.key: notice.sentence for notice in checks.notices}
    assert numbers(notices["small-test"])[0] == 6
    assert "sky (3)" in notices["few-images"] and "tree (3)" in notices["few-images"]
    assert "cat" in notices["no-images"] and not {"sky", "tree"} & set(notices["no-images"].split())
    assert "not-above-baseline" in notices
    assert [tile.name for tile in checks.tiles][:3] == ["Micro F1", "Macro F1", "Mean average precision"]


def test_each_label_has_its_threshold_scores_and_mistakes(make_label_facts: Callable[..., ReportFacts]) -> None:
    rows = {row.name: row for row in make_label_table(make_label_facts().evaluation).rows}
    assert [words for _, words in rows["cat"].counts] == ["0", "0", "2"]
    assert [words for _, words in rows["sky"].counts] == ["3", "1", "1"]
    assert rows["tree"].threshold == (0.5, "0.50")
    assert [value for value, _ in rows["tree"].scores] == [1.0, 1.0, 1.0, 1.0]


def test_mistakes_are_counted_by_image_by_label_and_by_pair(make_label_facts: Callable[..., ReportFacts]) -> None:
    mistakes = make_label_mistakes(make_label_facts())
    assert [(bar.name, bar.numbers[0]) for bar in mistakes.per_image] == [("none", "3"), ("one", "2"), ("2", "1")]
    assert [(bar.name, bar.numbers) for bar in mistakes.per_label] == [("sky", ["1", "1"]), ("cat", ["0", "2"])]
    assert mistakes.instead == [("sky", "cat", "1", 1.0)]


def test_many_wrong_labels_share_a_row(make_label_facts: Callable[..., ReportFacts]) -> None:
    facts = edited(make_label_facts(), {"test/wrong_labels": [1, 0, 0, 0, 0, 0, 0, 2, 1, 1, 1]})
    last = make_label_mistakes(facts).per_image[-1]
    assert (last.name, last.numbers) == ("8 or more", ["3"])


def test_the_galleries_show_the_worst_the_surest_and_the_right(make_label_facts: Callable[..., ReportFacts]) -> None:
    found = make_label_galleries(make_label_facts())
    assert found.worst[0].id == "13.png" and {picture.id for picture in found.worst} == {"13.png", "15.png", "17.png"}
    worst = found.worst[0]
    assert (worst.right, worst.false_negatives, worst.false_positives) == ([], ["sky"], ["cat"])
    assert found.confident_false_positives[0].about == ("cat", "98.2\xa0%")
    assert (found.num_right, found.num_wrong) == ("3", "3")
    assert {picture.id for picture in found.right} == {"12.png", "14.png", "16.png"}
    assert found.confident_false_negatives == [], "sky has too few test images to speak of labels too many"


def test_labels_that_occur_together_are_counted() -> None:
    headings, rows, dense, left_out = co_occurrence_table([[3, 2, 0], [2, 4, 0], [0, 0, 1]], ("sky", "tree", "cat"))
    assert [name for _, name in headings] == ["tree", "sky", "cat"]
    assert [[cell.number for cell in row] for row in rows] == [["4", "2", "0"], ["2", "3", "0"], ["0", "0", "1"]]
    assert numbers(rows[1][0].words)[:2] == [2, 3]
    assert rows[1][0].shade == pytest.approx((2 / 3) ** 0.5)
    assert not dense and left_out == 0


def test_images_without_a_label_are_in_the_count_of_labels(make_label_facts: Callable[..., ReportFacts]) -> None:
    per_image = make_co_occurrence(make_label_facts()).per_image
    assert [(words.replace("\xa0", " "), number) for words, number, _, _ in per_image] == [
        ("no label", "6"),
        ("1 label", "6"),
        ("2 labels", "6"),
    ]


def test_the_leading_label_is_the_rarest() -> None:
    targets = np.array([[1, 1, 0], [1, 0, 0], [1, 0, 1], [0, 1, 0], [0, 0, 0]], np.uint8)
    assert leading_label(targets).tolist() == [1, 0, 2, 1, 3]


def test_the_page_is_whole_and_shows_no_section_for_one_label(make_label_facts: Callable[..., ReportFacts]) -> None:
    page = Page(render_report(make_label_facts()))
    anchors = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    assert {"labels_result", "scores", "label_scores", "label_mistakes", "label_images", "co_occurrence"} <= anchors
    assert not {"confusion", "classes", "images", "result"} & anchors
    assert all(link["href"][1:] in anchors for link in page.all("a") if link["href"].startswith("#"))
    assert numbers(page.within("data"))[:2] == [18, 3]
    assert 55.0 in numbers(page.within("training")), "mean average precision of the kept epoch"


def test_hostile_labels_change_no_element_of_the_page(make_label_facts: Callable[..., ReportFacts]) -> None:
    hostile = Page(render_report(make_label_facts(tuple(HOSTILE[:3]))))
    harmless = Page(render_report(make_label_facts(("a" * 25, "b" * 32, "c" * 23))))
    shape = [[(tag, list(attributes)) for tag, attributes in page.tags] for page in (hostile, harmless)]
    assert shape[0] == shape[1]
    assert all(name in hostile.text for name in HOSTILE[:3])


def test_a_perfect_model_has_no_mistakes_and_an_empty_history_no_charts(
    make_label_facts: Callable[..., ReportFacts],
) -> None:
    facts = make_label_facts()
    logits = np.where(facts.predictions.targets > 0, 3.0, -3.0).astype(np.float32)
    predictions = dataclasses.replace(facts.predictions, logits=logits)
    settled = Settled(1.0, Chosen("f1", None, (0.5, 0.5, 0.5), ()))
    submission = Submission(predictions, settled=settled)
    evaluation = judge(submission, EvaluateConfig(bootstrap_samples=100), seed=0).evaluation
    page = Page(
        render_report(make_label_facts(predictions=predictions, evaluation=evaluation, history=facts.history.iloc[:0]))
    )
    assert numbers(page.within("labels_result"))[0] == 100
    assert not [chart for chart in page.ids if chart in ("chart-loss", "chart-scores")]
    assert make_label_mistakes(make_label_facts(evaluation=evaluation, predictions=predictions)).per_label == []
