"""A session: the images that are looked at, what is known of each, and the decisions so far.

Two kinds, which a page treats alike: the images of a run, whose labels are judged, and a folder of new ones, which get
their first. What takes long (features, copies) is done in a thread while the page is open already. Knows nothing of
requests or pages.
"""

from __future__ import annotations

import shlex
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from linnaeus.analysis.duplicate_groups import labels_of
from linnaeus.analysis.label_issues import find_label_issues, read_label_issues
from linnaeus.bundle import Bundle
from linnaeus.bundle.files import load_bundle
from linnaeus.config.resolved import ResolvedConfig, read_resolved
from linnaeus.data.corrections import ACCEPT, EXCLUDE, LABEL, RELABEL, SKIP
from linnaeus.data.manifest import SPLITS, UNASSIGNED, VALIDATION, Manifest
from linnaeus.errors import ConfigError, LinnaeusError, RunNotFoundError
from linnaeus.predictions import Predictions
from linnaeus.review.decisions import Decisions
from linnaeus.review.ending import Ended, UntilEnded
from linnaeus.review.neighbours import Neighbours
from linnaeus.review.queues import Queue, make_queues
from linnaeus.run_folder import RunDir, open_existing

MOST_SHOWN = 9
"""Classes that are shown with an image, the most probable first; nine have a digit on the keyboard."""

LONGEST_STEP_SECONDS = 30


@dataclass
class Session:
    """What a page asks.

    Attributes:
        title: the data's name, or the folder's.
        manifest: the N rows that are looked at.
        probabilities: float32 [N, K], NaN where nothing is known.
        issues: of `linnaeus.analysis.label_issues`.
        queues: in the order in which they are shown.
        decisions: what was decided.
        bundle: the run's model.
        labelled: whether the rows have labels already.
        reference: the images that neighbours are of; the same as `manifest` where that is labelled.
        command: what to type when all is done.
        preparing: what the thread is doing, in words; empty when it is done.
        neighbours: None until the thread has them, and where it could not make them.
        progress: what the thread tells how far it is, so that `end` can stop it.
    """

    title: str
    manifest: Manifest
    probabilities: npt.NDArray[np.float32]
    issues: pd.DataFrame
    queues: list[Queue]
    decisions: Decisions
    bundle: Bundle
    labelled: bool
    reference: Manifest
    command: str
    preparing: str = ""
    neighbours: Neighbours | None = None
    progress: UntilEnded = field(default_factory=UntilEnded)
    _thread: threading.Thread | None = None
    _issues_of: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for issue in self.issues.to_dict("records"):
            self._issues_of.setdefault(str(issue["id"]), []).append({str(key): value for key, value in issue.items()})

    def prepare(self, work: Callable[[Session], None]) -> threading.Thread:
        """Start what takes long in a thread; an error a user could cause is told in `preparing` and ends it."""

        def run() -> None:
            try:
                work(self)
                self.preparing = ""
            except Ended:
                return
            except LinnaeusError as error:
                self.preparing = f"Without neighbours: {error}"
            except Exception:
                self.preparing = "Without neighbours: there is a bug in Linnaeus; the terminal says which"
                raise

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()
        return self._thread

    def end(self) -> None:
        """Stop what `prepare` began, and wait until it has: a step takes seconds at most."""
        self.progress.end()
        if self._thread is not None:
            self._thread.join(timeout=LONGEST_STEP_SECONDS)

    def given(self, row: int) -> list[str]:
        """Names of the labels that a row has."""
        return labels_of(self.manifest, row) if self.labelled else []

    def describe(self, row: int) -> dict[str, Any]:
        """Everything the page shows of one row, as JSON values."""
        id = self.manifest.ids[row].as_py()
        given = self.given(row)
        made = self.decisions.get(id)
        near = [] if self.neighbours is None else self.neighbours.of(row)
        return {
            "row": row,
            "id": id,
            "split": "" if self.manifest.splits[row] == UNASSIGNED else SPLITS[self.manifest.splits[row]],
            "given": given,
            "likely": self._likely(row, given),
            "suggested": self._suggested(row, given),
            "doubts": [
                {key: issue[key] for key in ("kind", "given", "suggested", "confidence")}
                for issue in self._issues_of.get(id, [])
            ],
            "neighbours": near,
            "decision": None if made is None else {"decision": made.decision, "labels": made.labels},
        }

    def decide(self, row: int, decision: str, labels: list[str]) -> None:
        """Note a decision about a row.

        Raises ConfigError for a decision that does not exist here or labels that do not fit it; OutputError if the
        file cannot be written.
        """
        known = (ACCEPT, RELABEL, EXCLUDE, SKIP) if self.labelled else (LABEL, EXCLUDE, SKIP)
        if decision not in known:
            raise ConfigError(f"There is no decision '{decision}' here; there are {', '.join(known)}.")
        strangers = [name for name in labels if name not in self.manifest.classes]
        if strangers:
            raise ConfigError(f"There is no class '{strangers[0]}'.")
        order = sorted(set(labels), key=self.manifest.classes.index)
        if decision in (RELABEL, LABEL) and self.manifest.task == "single" and len(order) != 1:
            raise ConfigError("An image has one label here.")
        given = self.given(row)
        wanted = {ACCEPT: given, EXCLUDE: [], SKIP: given}.get(decision, order)
        self.decisions.decide(self.manifest.ids[row].as_py(), decision, given=given, labels=wanted)

    def decided(self, rows: npt.NDArray[np.int64]) -> list[bool]:
        """Whether there is a decision about each row."""
        ids = self.manifest.ids.take(pa.array(rows)).to_pylist()
        return [self.decisions.get(id) is not None for id in ids]

    def row_of(self, id: str) -> int | None:
        """The row of an id; None where there is none."""
        row: int = pc.index(self.manifest.ids, id).as_py()
        return None if row < 0 else row

    def _likely(self, row: int, given: list[str]) -> list[dict[str, Any]]:
        """The most probable classes with their probabilities, the given labels always among them; where nothing is
        known, the first classes.
        """
        shown, classes = self.probabilities[row], self.manifest.classes
        if np.isnan(shown).any():
            return [{"name": name, "probability": None} for name in classes[:MOST_SHOWN]]
        order = np.argsort(-shown, kind="stable").tolist()
        own = [classes.index(name) for name in given]
        others = [k for k in order if k not in own][: max(0, MOST_SHOWN - len(own))]
        chosen = sorted([*own, *others], key=order.index)
        return [{"name": classes[k], "probability": round(float(shown[k]), 4)} for k in chosen]

    def _suggested(self, row: int, given: list[str]) -> list[str] | None:
        """The labels that the model would give instead; None where it has nothing else to say."""
        shown, classes = self.probabilities[row], self.manifest.classes
        if np.isnan(shown).any():
            return None
        if self.manifest.task == "multi":
            issues = self._issues_of.get(self.manifest.ids[row].as_py(), [])
            wanted = set(given) - {i["given"] for i in issues} | {i["suggested"] for i in issues if i["suggested"]}
            if not issues and not self.labelled:
                wanted = {classes[k] for k in np.flatnonzero(shown >= np.array(self.bundle.thresholds or 0.5))}
            labels = sorted(wanted, key=classes.index)
        else:
            labels = [classes[int(shown.argmax())]]
        return None if labels == given else labels


def train_command(run: RunDir, config: ResolvedConfig, decided: Path) -> str:
    """What to type for another run with the same settings, on the same data with what was decided about it."""
    files = [*config.data.corrections, str(decided)]
    words = ["linnaeus", "train", config.data.source, "--recipe", str(run.config)]
    return shlex.join([*words, *(word for file in dict.fromkeys(files) for word in ("--corrections", file))])


def open_run(path: Path) -> tuple[Session, RunDir, ResolvedConfig]:
    """The session of a finished run. Raises RunNotFoundError where there is none, or it is not finished."""
    run = open_existing(path)
    if not run.predictions.is_file() or not run.model.is_dir():
        raise RunNotFoundError(f"The run {path} is not finished. Go on with it: linnaeus resume {path}")
    config = read_resolved(run.config)
    manifest, bundle = Manifest.load(run.manifest), load_bundle(run.model)
    held_out = Predictions.load(run.predictions)
    unseen = Predictions.load(run.out_of_fold) if run.out_of_fold.is_file() else held_out.of_split(VALIDATION)
    probabilities = np.full((len(manifest), manifest.num_classes), np.nan, np.float32)
    for predictions in (held_out, unseen):
        rows = pc.index_in(predictions.ids, value_set=manifest.ids).to_numpy()
        probabilities[rows] = predictions.probabilities
    issues = read_label_issues(run.label_issues) if run.label_issues.is_file() else find_label_issues(unseen)
    thresholds = None if bundle.thresholds is None else np.array(bundle.thresholds)
    session = Session(
        title=Path(config.data.source).name,
        manifest=manifest,
        probabilities=probabilities,
        issues=issues,
        queues=make_queues(manifest, probabilities, issues, thresholds=thresholds),
        decisions=Decisions(run.corrections, manifest.task),
        bundle=bundle,
        labelled=True,
        reference=manifest,
        command=train_command(run, config, run.corrections),
    )
    return session, run, config
