"""Numbers as a person writes them."""

import pytest

from linnaeus.report import wording


@pytest.mark.parametrize(
    ("fraction", "words"),
    [
        (0.9412, "94.1"),
        (1.0, "100"),
        (0.0, "0"),
        (0.99951, "99.95"),
        (0.99996, "99.996"),
        (0.9999999, ">99.999"),
        (0.0004, "0.04"),
        (1e-9, "<0.001"),
        (0.9996, "99.96"),
    ],
)
def test_a_percentage_never_claims_perfection_it_does_not_have(fraction, words):
    assert wording.figure(fraction) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.44, "0.4 s"),
        (12.2, "12 s"),
        (59.7, "1 min 0 s"),
        (252, "4 min 12 s"),
        (3599.8, "1 h 0 min"),
        (3780, "1 h 3 min"),
    ],
)
def test_durations_are_told_in_two_units_at_most(seconds, words):
    assert wording.duration(seconds).replace(wording.NBSP, " ") == words


def test_lists_end_with_and_or_tell_how_many_are_left_out():
    assert wording.listing(["a"], at_most=2) == "a"
    assert wording.listing(["a", "b"], at_most=2) == "a and b"
    assert wording.listing(["a", "b", "c"], at_most=3) == "a, b and c"
    assert wording.listing(["a", "b", "c", "d"], at_most=2) == "a, b and 2 more"


def test_shortened_names_keep_both_ends_and_never_exceed_the_limit():
    assert wording.shorten("short", at_most=10) == "short"
    name = "Hymenoptera, parasitic wasps, adult female"
    for limit in range(5, len(name)):
        short = wording.shorten(name, at_most=limit)
        assert len(short) <= limit
        assert "…" in short
    assert wording.shorten(name, at_most=22) == "Hymenoptera…ult female"


def test_plurals_and_thousands():
    assert wording.plural(1, "image") == f"1{wording.NBSP}image"
    assert wording.plural(12_000, "image") == f"12,000{wording.NBSP}images"
    assert wording.plural(2, "class", "classes") == f"2{wording.NBSP}classes"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("micro_f1", "Micro F1"),
        ("macro_precision", "Macro precision"),
        ("hamming_accuracy", "Hamming accuracy"),
        ("subset_accuracy", "Subset accuracy"),
        ("top_3_accuracy", "Top-3 accuracy"),
        ("ece", "Expected calibration error (ECE)"),
        ("roc_auc", "ROC AUC"),
        ("brier", "Brier score"),
        ("log_loss", "Log loss"),
    ],
)
def test_scores_have_the_names_that_a_person_writes(name, words):
    assert wording.capital(wording.score_words(name)) == words
