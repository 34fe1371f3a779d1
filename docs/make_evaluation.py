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

What a model is worth, for programs: a run, a run of folds, an ensemble, averaged weights, or predictions that any other
model left in a file (`linnaeus evaluate --predictions theirs.csv`). All of them are judged by one function, and say the
same things. UTF-8 JSON with plain numbers only: never `NaN`, never `Infinity`. Ignore fields that you do not know.

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
  "omitted": {"ood": "the model came without features"}
}
```

(The figures only show the shape, and most fields are left out.)

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
  resampled scores tells how many independent images the score is worth (n = s(1-s) / variance); the interval is
  Wilson's for the measured value among n. Before resampling, each class's error rate is drawn towards that of all
  images by two images' weight, so that a class of eight images without an error does not count as certain. Where no
  image at all is wrong, n = K² / Σ 1/n_k for K classes of n_k images.
- `log_loss` and `brier`: as spread over resampled images, on the scale of logarithms.
- `ece`: the lower end is 0 where a perfectly calibrated model would show an error this large by chance, else less the
  bias that resampling shows.
- The difference of two models ([PairedDifference](#paireddifference)): a paired bootstrap of the images that both
  answered. The test beside it is McNemar's, in its exact form.

**Groups.** Where images belong together (frames of a video, crops of a scene, photos of a patient), `num_groups` says
how many groups there are, and every interval and test goes by groups: whole groups are resampled, a fraction of the
images is Wilson's among as many independent images as its groups are worth, and McNemar's test gives way to a
permutation test that swaps the two models' answers in whole groups. Images of one group succeed and fail together, so
that 400 images in 40 groups tell much less than 400 single ones: intervals that ignored this would be too narrow, and
two equally good models would often seem different. For several labels the test is a permutation test too.

In simulations the intervals hold the true score 92 to 97 times in 100 where every class has ten images or more, and
less often (down to 80) where some have five: so few cannot tell much about their class.

An interval tells how far the score could move on *other images of the same kind*. It does not cover what would happen
with another training run, or with images from another camera, place or year.

## Agreement with scikit-learn

Every score but `log_loss`, `brier` and `ece` lies between 0 and 1, and higher is better. A fraction of nothing (the
precision of a class that was never predicted) counts as 0. All scores agree with scikit-learn's functions of the same
names with `zero_division=0`; for several labels `metrics/multilabel.py` says where 1 is taken instead.

## Format 1

Files of earlier versions say `"format": 1`. A run's is brought up to date from its predictions by
`linnaeus evaluate runs/photos --out runs/photos`."""


def evaluation_page() -> str:
    """The whole page as Markdown."""
    parts = [_INTRODUCTION]
    parts += tables_of(Evaluation, _WORDS)
    return "\n\n".join([*parts, _CLOSING]) + "\n"


_WORDS = Words(section=link, nothing="null")

if __name__ == "__main__":
    PAGE.write_text(evaluation_page(), encoding="utf-8")
    print(f"{PAGE} written")
