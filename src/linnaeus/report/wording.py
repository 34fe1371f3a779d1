"""Numbers and lists as a person writes them. Used by every part of the page; knows nothing of what they mean."""

from __future__ import annotations

from collections.abc import Sequence

NBSP = "\N{NO-BREAK SPACE}"
_WRITTEN = {
    "auc": "AUC",
    "brier": "Brier score",
    "ece": "expected calibration error (ECE)",
    "f1": "F1",
    "hamming": "Hamming",
    "roc": "ROC",
    "top_3_accuracy": "top-3 accuracy",
    "top_5_accuracy": "top-5 accuracy",
}
"""Names of scores, or words in them, that are not written as in files."""
CACHED_FEATURES = "time that earlier runs spent on features found in the cache"


def figure(fraction: float) -> str:
    """A fraction of 0-1 as a percentage without its sign, `94.1`.

    More decimals where one would claim perfection or nothing at all: 0.99996 is `99.996`, never `100.0`.
    """
    if fraction in (0, 1):
        return f"{100 * fraction:.0f}"
    for decimals in (1, 2, 3):
        text = f"{100 * fraction:.{decimals}f}"
        if float(text) not in (0.0, 100.0):
            return text
    return "<0.001" if fraction < 0.5 else ">99.999"


def percent(fraction: float) -> str:
    """`94.1 %`."""
    return f"{figure(fraction)}{NBSP}%"


def percent_range(low: float, high: float) -> str:
    """`93.6–94.5 %`."""
    return f"{figure(low)}–{figure(high)}{NBSP}%"


def count(number: int) -> str:
    """`10,000`."""
    return f"{number:,}"


def plural(number: int, singular: str, several: str | None = None) -> str:
    """`1 image`, `2,000 images`."""
    return f"{count(number)}{NBSP}{singular if number == 1 else several or singular + 's'}"


def score_words(name: str) -> str:
    """`micro F1` of `micro_f1`: the name that a score has in files, as a person writes it."""
    return _WRITTEN.get(name) or " ".join(_WRITTEN.get(word, word) for word in name.split("_"))


def images_words(num_images: int, num_groups: int | None) -> str:
    """`270 images`, or `270 images in 40 groups` where images belong together."""
    images = plural(num_images, "image")
    return images if num_groups is None else f"{images} in {plural(num_groups, 'group')}"


def p_words(p_value: float) -> str:
    """`p = 0.03`."""
    return f"p = {p_value:.2g}"


def capital(text: str) -> str:
    """With a capital first, and the rest as it is."""
    return text[:1].upper() + text[1:]


def duration(seconds: float) -> str:
    """`0.4 s`, `12 s`, `4 min 12 s`, `1 h 3 min`."""
    if seconds < 10:
        return f"{seconds:.1f}{NBSP}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}{NBSP}s"
    if whole < 3600:
        return f"{whole // 60}{NBSP}min {whole % 60}{NBSP}s"
    minutes = round(seconds / 60)
    return f"{minutes // 60}{NBSP}h {minutes % 60}{NBSP}min"


def shorten(text: str, *, at_most: int) -> str:
    """The whole text, or its beginning and end around `…`: names of one family often differ only at the end."""
    if len(text) <= at_most:
        return text
    tail = (at_most - 1) // 2
    return f"{text[: at_most - 1 - tail].rstrip()}…{text[-tail:].lstrip()}"


def listing(items: Sequence[str], *, at_most: int) -> str:
    """`a, b and c`, or `a, b and 7 more` beyond `at_most` items."""
    if len(items) == 1:
        return items[0]
    shown, rest = (items[:-1], items[-1]) if len(items) <= at_most else (items[:at_most], "")
    return f"{', '.join(shown)} and {rest or f'{len(items) - at_most:,} more'}"
