"""What balancing did to rare classes and to common ones, where a run balances."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from linnaeus.report.facts import ReportFacts
from linnaeus.report.wording import capital, count, figure, listing, percent, plural, score_words
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
    effect = facts.evaluation.get("balancing")
    if effect is None:
        return BalancingSection(
            [
                "This run balances rare classes. What that did to them cannot be told from one run: train again with "
                "--set data.balance=none --set loss.class_weights=none --set loss.logit_adjustment=0, and let linnaeus "
                "compare put the two side by side."
            ],
            [],
        )
    rows, sentences = [], []
    for name in ("rare", "common"):
        group = effect[name]
        what = f"{name} classes: {listing(group['classes'], at_most=_MOST_NAMED)}"
        for score in ("recall", "precision", "average_precision"):
            if score in group:
                rows.append(_row(what, score, group[score]))
        if "p_value" in group:
            sentences.append(_sentence(name, group))
    rows += [_row("all classes", score, values) for score, values in effect["scores"].items()]
    sentences.append(
        f"Two heads on the features of the pretrained network, one with and one without balancing, answered the "
        f"{plural(effect['num_images'], 'validation image')}; each has the penalty that is best for it there."
    )
    return BalancingSection(sentences, rows)


def _row(what: str, score: str, values: dict[str, float | None]) -> EffectRow:
    without, with_ = values["without"], values["with"]
    shown = [("–" if v is None else figure(v)) for v in (without, with_)]
    change = "–" if without is None or with_ is None else f"{100 * (with_ - without):+.1f}"
    return EffectRow(capital(what), score_words(score), shown[0], shown[1], change.replace("-", "−"))


def _sentence(name: str, group: dict[str, Any]) -> str:
    """What became of the images of these classes, and whether chance would do as much."""
    if not group["num_images"]:
        return f"No validation image is of the {name} classes."
    gained, lost = group["only_with"], group["only_without"]
    verdict = "which chance would do too" if group["p_value"] >= 0.05 else "more than chance would do"
    return (
        f"Of {plural(group['num_images'], 'validation image')} of the {name} classes balancing got {count(gained)} "
        f"right that were wrong without it, and {count(lost)} wrong that were right: "
        f"{percent(group['recall']['without'])} "
        f"before, {percent(group['recall']['with'])} with it, {verdict} (exact McNemar p = {group['p_value']:.2g})."
    )
