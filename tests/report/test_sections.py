"""What the sections choose to say: warnings, extremes, kept epochs, pairs, pictures."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from tests.report.editing import edited
from tests.report.reading import numbers, present
from tests.settled import settled

from linnaeus.judging.evaluation import ClassScores, Score, Scores
from linnaeus.report.curves import make_curves_section
from linnaeus.report.gallery import data_uri, make_galleries, make_samples, one_class_after_another
from linnaeus.report.headline import level_words, make_headline, make_scores
from linnaeus.report.tables import make_matrix, make_pairs


def scores(confusion):
    """Scores of which only the confusion matters."""
    row = ClassScores(precision=0, recall=0, specificity=0, f1=0, roc_auc=None, average_precision=0, support=0)
    none = Score(value=0, low=0, high=0)
    return Scores(
        log_loss=none,
        brier=none,
        ece=none,
        per_class={f"c{k}": row for k in range(len(confusion))},
        confusion=confusion,
        num_images=sum(map(sum, confusion)),
    )


def notices(facts):
    return {notice.key: notice.sentence for notice in make_scores(facts).notices}


def test_small_test_sets_and_small_classes_are_warned_of(make_facts):
    small = notices(make_facts(per_class=30))
    assert numbers(small["small-test"])[0] == 30
    assert all(f"{name} (10)" in small["few-images"] for name in ("ant", "bee", "cow"))
    assert not {"small-test", "few-images"} & set(notices(make_facts(per_class=300)))


def test_few_groups_are_a_small_test_set_however_many_images_they_have(make_facts):
    assert numbers(notices(make_facts(per_class=300, num_groups=60))["small-test"])[:2] == [300, 60]


def test_a_class_without_test_images_and_a_poor_model_are_warned_of(make_facts):
    facts = make_facts(("ant", "bee", "cow"))
    found = notices(
        edited(
            facts,
            {
                "test/per_class/cow/support": 0,
                "test/balanced_accuracy/value": facts.evaluation.test.accuracy.value - 0.2,
                "test/accuracy/low": 0.3,
            },
        )
    )
    assert "cow" in found["no-images"] and "ant" not in found["no-images"]
    assert numbers(found["rare-classes"])[0] == 20
    assert "ant" in found["not-above-baseline"]


def test_best_and_worst_class_go_by_recall_and_name_ties(make_facts):
    recalls = {f"test/per_class/{name}/recall": recall for name, recall in (("ant", 0.5), ("bee", 0.9), ("cow", 0.5))}
    headline = make_headline(edited(make_facts(("ant", "bee", "cow")), recalls))
    assert headline.best is not None
    assert (headline.best.names, headline.best.verb) == ("bee", "is")
    assert headline.worst is not None
    assert (headline.worst.names, headline.worst.verb) == ("ant and cow", "are")
    assert make_headline(make_facts(accuracy=1.0)).best is None


def test_the_level_in_words_is_that_of_the_intervals():
    assert level_words(0.99) == "99\xa0%"
    assert level_words(0.995) == "99.5\xa0%"


@pytest.mark.parametrize(("keep", "kept"), [("validation_loss", "3"), ("validation_accuracy", "5"), ("last", "6")])
def test_the_kept_epoch_is_the_first_best_of_the_last_phase(make_facts, keep, kept):
    history = pd.DataFrame(
        {
            "epoch": range(1, 7),
            "phase": ["head"] * 2 + ["all"] * 4,
            "validation_loss": [0.1, 0.1, 0.2, 0.3, 0.3, 0.4],
            "validation_accuracy": [0.99, 0.99, 0.5, 0.6, 0.7, 0.7],
        }
    )
    config = settled({"phases": [{"name": "head"}, {"name": "all", "monitor": keep}]})
    assert present(make_curves_section(make_facts(history=history, config=config))).kept == kept
    assert present(make_curves_section(make_facts(history=history, config=config, kept_epoch=4))).kept == "4"


def test_pairs_are_the_largest_mistakes_and_the_caption_tells_their_fraction():
    confusion = [[10 + k if i == k else (i * 12 + k) % 5 for k in range(12)] for i in range(12)]
    pairs = make_pairs(scores(confusion))
    shown = [int(pair.number) for pair in pairs.pairs]
    wrong = sorted((n for i, row in enumerate(confusion) for k, n in enumerate(row) if i != k), reverse=True)
    assert shown == wrong[:10]
    assert numbers(pairs.caption) == [round(100 * sum(shown) / sum(wrong), 1), sum(wrong)]
    assert numbers(make_pairs(scores([[3, 1], [0, 4]])).caption) == [], "all of them"


def test_matrix_cells_are_shaded_by_their_fraction_of_the_row():
    matrix = present(make_matrix(scores([[75, 25, 0], [0, 0, 0], [1, 0, 999]])))
    cells = [cell for row in matrix.rows for cell in row]
    assert [round(cell.shade**2, 3) for cell in cells] == [0.75, 0.25, 0, 0, 0, 0, 0.001, 0, 0.999]
    assert [cell.right for cell in cells] == [True, False, False, False, True, False, False, False, True]
    assert cells[6].fraction == "<1"
    assert numbers(cells[1].words) == [25, 100, 25.0] and "c0" in cells[1].words and "c1" in cells[1].words


def test_pictures_take_turns_between_classes_without_repeating():
    targets = np.array([0, 0, 0, 0, 1, 2, 2])
    rows = one_class_after_another(targets, at_most=5, seed=0)
    assert targets[rows].tolist() == [0, 1, 2, 0, 2]
    assert len(set(rows.tolist())) == 5
    assert one_class_after_another(targets, at_most=99, seed=0).size == 7
    assert one_class_after_another(targets[:0], at_most=5, seed=0).size == 0
    many = one_class_after_another(np.arange(100), at_most=5, seed=0)
    assert many.tolist() == [0, 25, 50, 74, 99]


def test_the_gallery_shows_the_most_confident_mistakes_first_and_the_right_thumbnails(make_facts):
    plain = make_facts(tuple("abcdef"), per_class=60)
    shown = []

    def thumbnail(row):
        shown.append(row)
        return plain.thumbnails(row)

    facts = dataclasses.replace(plain, thumbnails=thumbnail)
    galleries = make_galleries(facts)
    test = facts.predictions.of_split(2)
    wrong = np.flatnonzero(test.predicted != test.targets)
    expected = np.sort(test.probabilities[wrong].max(axis=1))[::-1][:24]
    told = [present(p.probability).replace("\xa0", " ") for p in galleries.wrong]
    assert told == [f"{100 * p:.1f} %" for p in expected]
    ids = [facts.manifest.ids[row].as_py() for row in shown]
    assert ids == [p.id for p in galleries.right + galleries.wrong]
    assert all(p.true != p.predicted for p in galleries.wrong)
    assert all(p.true == p.predicted for p in galleries.right)
    assert (galleries.num_right, galleries.num_wrong) == (f"{len(test) - len(wrong)}", f"{len(wrong)}")


def test_unreadable_training_images_are_not_in_the_strip(make_facts):
    facts = make_facts(("ant", "bee"), per_class=6)
    gone = ["0.png", "3.png", "6.png"]
    samples = make_samples(make_facts(("ant", "bee"), per_class=6, problems=[(id, "x") for id in gone]))
    assert len(samples) == len(facts.manifest.rows(0)) - 3
    assert not {picture.id for picture in samples} & set(gone)


def test_thumbnails_keep_their_bytes_if_they_are_small(make_facts):
    small = make_facts().thumbnails(3)
    uri, coarse = data_uri(small)
    assert uri.startswith("data:image/png;base64,")
    assert coarse
