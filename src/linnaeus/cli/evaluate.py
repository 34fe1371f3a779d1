"""`linnaeus evaluate`: scores of a finished run, or of the predictions of any other model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from linnaeus.atomic import write_json
from linnaeus.config.settings import EvaluateConfig
from linnaeus.errors import ConfigError, OutputError
from linnaeus.judging.evaluation import Evaluation
from linnaeus.report.wording import images_words, percent, score_words

_MOST_SLICES = 3


def evaluate(
    run: Path | None = None,
    /,
    *,
    predictions: Path | None = None,
    out: Annotated[Path | None, Parameter(name=["--out", "-o"])] = None,
    threshold: float = 0.5,
    confidence: float | None = None,
) -> int:
    """Score predictions: of a finished run, or of any other model from a file.

    The file is CSV or Parquet: a column `path` (or `id`), the true label in `target` (several with `|` between them),
    and one column `probability:CLASS` per class; `group` names images that belong together, and all other columns are
    looked through for parts where the model fares worse. Writes evaluation.json and a page into the folder `--out`.

    Memory does not grow with images times classes: about 0.7 GB and half a kilobyte per image (several labels: a byte
    per image and class more). The probabilities lie in a nameless temporary file in TMPDIR, up to eight bytes for each.

    Example: `linnaeus evaluate --predictions theirs.csv --out theirs`

    Parameters
    ----------
    run
        The folder of a finished run.
    predictions
        A file of predictions instead.
    out
        Folder to write; by default the file's name without its ending, or RUN/evaluation.
    threshold
        Probability from which a label is predicted, where images of a file have several.
    confidence
        Level of every interval and test; of a run that of its configuration, of a file 0.95 if not given.
    """
    if (run is None) == (predictions is None):
        raise ConfigError("Name a run, or a file with --predictions: linnaeus evaluate --predictions theirs.csv")
    if confidence is not None and not 0.5 < confidence < 1:
        raise ConfigError(f"--confidence is a level such as 0.95, not {confidence:g}.")
    if not 0 < threshold < 1:
        raise ConfigError(f"--threshold is a probability such as 0.5, not {threshold:g}.")
    from linnaeus.report.evaluation_page import write_evaluation_page
    from linnaeus.runs.evaluate import evaluate_file, evaluate_run  # takes seconds: torch

    if predictions is not None:
        folder, title = out or predictions.with_suffix(""), predictions.name
    else:
        assert run is not None
        folder, title = out or run / "evaluation", str(run)
    if folder.is_file():
        raise OutputError(f"{folder} is a file. Name a folder with --out.")
    if predictions is not None:
        config = EvaluateConfig() if confidence is None else EvaluateConfig(confidence=confidence)
        found = evaluate_file(predictions, config=config, threshold=threshold)
    else:
        assert run is not None
        found = evaluate_run(run, confidence=confidence)
    write_json(folder / "evaluation.json", found.to_json())
    write_evaluation_page(folder / "evaluation.html", found, title=title)
    _show(found)
    print(f"Page     {folder / 'evaluation.html'}")
    print(f"Scores   {folder / 'evaluation.json'}")
    return 0


def _show(found: Evaluation) -> None:
    console = Console(highlight=False)
    interval = f"{100 * found.confidence:g} % interval"
    table = Table("score", "value", interval, box=None, pad_edge=False, header_style="bold")
    for name, score in found.test.named():
        table.add_row(score_words(name), f"{score.value:.4f}", f"{score.low:.4f} - {score.high:.4f}")
    console.print(table)
    grouped = "" if found.test.num_groups is None else "; intervals resample whole groups"
    console.print(f"{images_words(found.test.num_images, found.test.num_groups)}{grouped}.")
    for each in [each for each in found.slices.slices if each.worse][:_MOST_SLICES]:
        scores = f"{percent(each.score.value)} against {percent(each.rest)}"
        console.print(f"Significantly worse where {each.column} is {each.value}: {scores}.", markup=False)
