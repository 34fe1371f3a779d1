"""Out-of-distribution detection: which test images look unlike those of training, and how the model fares on them."""

from __future__ import annotations

from linnaeus.judging.evaluation import Evaluation
from linnaeus.report.wording import percent, percent_range


def make_ood(evaluation: Evaluation) -> list[str] | None:
    """Sentences; None where the model has no detector."""
    found = evaluation.ood
    if found is None:
        return None
    flagged, inside, outside = found.flagged, found.accuracy_in_distribution, found.accuracy_flagged
    sentences = [
        "An image whose features are further from those of the training images than those of "
        f"{percent(found.in_distribution_fraction)} of the validation images is flagged as out of distribution: "
        f"{percent(flagged.value)} of the test images ({percent_range(flagged.low, flagged.high)})."
    ]
    if inside is not None and outside is not None:
        outcome = "have every label right" if evaluation.test.several_labels else "were predicted correctly"
        sentences.append(
            f"Of these, {percent(outside.value)} {outcome} ({percent_range(outside.low, outside.high)}), "
            f"of the others {percent(inside.value)}."
        )
    return sentences
