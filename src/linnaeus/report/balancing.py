"""What balancing did to rare classes and to common ones, where a run balances."""

from __future__ import annotations

from dataclasses import dataclass

from linnaeus.judging.evaluation import BalancedClasses, WithAndWithout
from linnaeus.report.facts import ReportFacts
from linnaeus.report.wording import capital, count, figure, listing, p_words, percent, plural, score_words
from linnaeus.training.unbalanced import balances

_MOST_NAMED = 6


@dataclass(frozen=True)
class EffectRow:
    """One line: what is scored, and its score in percent without and with balancing."""

    what: str
    score: str
    without: str
    with_: str
    change: str


@dataclass(frozen=True)
class BalancingSection:
    """Sentences and a table; no rows where one run cannot tell."""

    sentences: list[str]
    rows: list[EffectRow]


def make_balancing(facts: ReportFacts) -> BalancingSection | None:
    """The table and what it says in words; None where nothing is done about rare classes."""
    if not balances(facts.config):
        return None
    effect = facts.evaluation.balancing
    if effect is None:
        return BalancingSection(
            [
                "This run balances rare classes. A single run does not show the effect: train again with "
                "--set data.balance=none --set loss.class_weights=none --set loss.logit_adjustment=0, and compare "
                "the two with linnaeus compare."
            ],
            [],
        )
    rows, sentences = [], []
    for name, part in (("rare", effect.rare), ("common", effect.common)):
        what = f"{name} classes: {listing(part.classes, at_most=_MOST_NAMED)}"
        scores = {"recall": part.recall, "precision": part.precision, "average_precision": part.average_precision}
        rows += [_row(what, score, values) for score, values in scores.items() if values is not None]
        if part.recall is not None:
            sentences.append(_sentence(name, part, part.recall, confidence=facts.evaluation.confidence))
    rows += [_row("all classes", score, values) for score, values in effect.scores.items()]
    sentences.append(
        f"Two heads on the features of the pretrained network, one with and one without balancing, were evaluated on "
        f"{plural(effect.num_images, 'validation image')}; each with its best penalty there."
    )
    return BalancingSection(sentences, rows)


def _row(what: str, score: str, values: WithAndWithout) -> EffectRow:
    without, with_ = values.without, values.with_balancing
    shown = [("–" if v is None else figure(v)) for v in (without, with_)]
    change = "–" if without is None or with_ is None else f"{100 * (with_ - without):+.1f}"
    return EffectRow(capital(what), score_words(score), shown[0], shown[1], change.replace("-", "−"))


def _sentence(name: str, part: BalancedClasses, recall: WithAndWithout, *, confidence: float) -> str:
    """What became of the images of these classes, and whether that is significant."""
    if not part.num_images or recall.without is None or recall.with_balancing is None or part.p_value is None:
        return f"No validation image is of the {name} classes."
    better = "better" if recall.with_balancing > recall.without else "worse"
    verdict = f"significantly {better}" if part.p_value < 1 - confidence else "not significantly different"
    return (
        f"Of {plural(part.num_images, 'validation image')} of the {name} classes balancing got "
        f"{count(part.only_with or 0)} right that were wrong without it, and {count(part.only_without or 0)} wrong "
        f"that were right: {percent(recall.without)} before, {percent(recall.with_balancing)} with it, {verdict} "
        f"({p_words(part.p_value)})."
    )
