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
    """Score the predictions of a finished run, or those of any other model from a file.

    The file is CSV or Parquet, with a column `path` (or `id`), the true label in the column `target` (several labels
    are separated by `|`), and one column `probability:CLASS` per class. An optional column `group` names images that
    belong together. All other columns are searched for slices of the data on which the model performs worse. Writes
    evaluation.json and a page into the folder `--out`.

    Needs about 0.7 GB of memory plus half a kilobyte per image (with several labels, one byte more per image and
    class). The probabilities are kept in a temporary file in TMPDIR, up to eight bytes each.

    Example: `linnaeus evaluate --predictions theirs.csv --out theirs`

    Parameters
    ----------
    run
        Folder of a finished run.
    predictions
        File of predictions to score instead of a run.
    out
        Folder for the results. Default: RUN/evaluation, or the name of the file without its ending.
    threshold
        Probability from which a label is predicted, where the images of a file have several labels.
    confidence
        Confidence level of all intervals and tests. Default: that of the run's configuration; 0.95 for a file.
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
