"""Writes docs/evaluation-json.md from the types of src/linnaeus/judging/evaluation.py and their docstrings.

    python docs/make_evaluation.py

The committed page must be what this writes; tests/test_docs.py compares the two.
"""

from __future__ import annotations

from pathlib import Path

from field_tables import Words, link, tables_of

from linnaeus.judging.evaluation import Evaluation

PAGE = Path(__file__).with_name("evaluation-json.md")
_INTRODUCTION = """# evaluation.json

<!-- Written by docs/make_evaluation.py from the docstrings of judging/evaluation.py. Change those, not this. -->

The evaluation of a model in machine-readable form: of a run, a run of folds, an ensemble, averaged weights, or of
predictions of any other model in a file (`linnaeus evaluate --predictions theirs.csv`). All are evaluated by the same
function and have the same fields. UTF-8 JSON with finite numbers only: never `NaN`, never `Infinity`. Ignore fields
that you do not know.

```json
{
  "format": 2,
  "confidence": 0.95,
  "test": {
    "accuracy":          {"value": 0.941, "low": 0.9362, "high": 0.9454},
    "balanced_accuracy": {"value": 0.941, "low": 0.9364, "high": 0.9455},
    "per_class": {
      "cat": {"precision": 0.884, "recall": 0.871, "specificity": 0.987, "f1": 0.877, "support": 1000},
      "dog": {"precision": 0.911, "recall": 0.902, "specificity": 0.99, "f1": 0.906, "support": 1000}
    },
    "confusion": [[871, 129], [98, 902]],
    "num_images": 2000,
    "num_groups": null
  },
  "ood": null,
  "omitted": {"ood": "A file of predictions has no features of the images."}
}
```

(The numbers are only an example, and most fields are omitted.)

The headings below are the names of Python types, in `linnaeus.judging.evaluation`:

```python
evaluation = run.evaluation  # or read_evaluation(Path("theirs/evaluation.json"))
evaluation.test.accuracy.value
evaluation.test.per_class["cat"].recall
```"""
_CLOSING = """## Intervals and tests

`low <= value <= high`, at the level `confidence`. The method of each:

- A fraction of the images, such as `accuracy`: the score interval of Wilson (JASA 22, 1927, 209-212).
- The macro scores and F1 of several labels: the test set is resampled `bootstrap_samples` times with the seed `seed`,
  with replacement; of one label per image within each class, of several labels image by image. The variance of the
  resampled scores gives the effective number of independent images (n = s(1-s) / variance); the interval is Wilson's
  for the measured value and n. Before resampling, each class's error rate is shrunk towards that of all
  images with the weight of two images, so that a class of eight images without an error does not count as certain.
  If no image at all is wrong, n = K² / Σ 1/n_k for K classes of n_k images.
- `log_loss` and `brier`: from the standard deviation over bootstrap resamples, on a log scale.
- `ece`: the lower end is 0 where a perfectly calibrated model would show an error this large by chance; otherwise
  the bias estimated by resampling is subtracted.
- The difference of two models ([PairedDifference](#paireddifference)): a paired bootstrap of the common
  images. The p value is that of McNemar's exact test.

**Groups.** Where images belong together (frames of a video, crops of a scene, photos of a patient), `num_groups` says
how many groups there are, and every interval and test takes groups into account: whole groups are resampled, the
interval of a fraction is Wilson's with the effective number of independent images, and McNemar's test is replaced by a
permutation test that swaps the two models' predictions in whole groups. Errors within a group are correlated, so 400
images in 40 groups contain much less information than 400 independent ones: intervals that ignored this would be too
narrow, and two equally good models would often seem significantly different. For several labels the test is a
permutation test too.

In simulations the 95 % intervals contain the true score in 92 to 97 of 100 cases if every class has at least ten
images, and less often (down to 80) if some classes have five: so few images say little about their class.

An interval is for the score on *other images of the same kind*. It does not cover the variation between training runs,
or images from another camera, place or year.

## Agreement with scikit-learn

Every score but `log_loss`, `brier` and `ece` lies between 0 and 1, and higher is better. A fraction of nothing (the
precision of a class that was never predicted) counts as 0. All scores agree with scikit-learn's functions of the same
names with `zero_division=0`; for several labels `metrics/multilabel.py` says where 1 is taken instead.

## Format 1

Files with `"format": 1`, from before the first release, are refused: train the run again."""


def evaluation_page() -> str:
    """The whole page as Markdown."""
    parts = [_INTRODUCTION]
    parts += tables_of(Evaluation, _WORDS)
    return "\n\n".join([*parts, _CLOSING]) + "\n"


_WORDS = Words(section=link, nothing="null")

if __name__ == "__main__":
    PAGE.write_text(evaluation_page(), encoding="utf-8")
    print(f"{PAGE} written")
