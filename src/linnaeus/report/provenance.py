"""How the run was made, for whoever wants to repeat it: the plan with its reasons, the machine, the time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from linnaeus.config.pages import to_yaml
from linnaeus.report.facts import ReportFacts
from linnaeus.report.wording import count, duration


@dataclass(frozen=True)
class Plan:
    """Every (what, choice, why), and the configuration that came of them, as YAML; "" for several runs together."""

    decisions: Sequence[tuple[str, str, str]]
    config: str


@dataclass(frozen=True)
class Making:
    """Network, environment, and (stage, duration) of each stage."""

    model_name: str
    num_parameters: str
    environment: Mapping[str, str]
    seconds: list[tuple[str, str]]


def make_plan(facts: ReportFacts) -> Plan:
    """The decisions and the configuration."""
    return Plan(facts.decisions, "" if facts.evaluation.ensemble is not None else to_yaml(facts.config))


def make_run(facts: ReportFacts) -> Making:
    """What the run took and ran on."""
    spent = facts.evaluation.seconds
    stages = {
        "prepare": spent.prepare,
        "train": spent.train,
        "evaluate": spent.evaluate,
        "total": spent.total,
        "cached features": spent.cached_features,
    }
    seconds = [(stage, duration(value)) for stage, value in stages.items() if value is not None]
    return Making(facts.config.model.name, count(facts.num_parameters), facts.environment, seconds)
