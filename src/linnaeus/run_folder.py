"""The folder of a run, `runs/NAME/`: the only place that names its files, and how a run takes one for itself.

Knows nothing of what the files hold.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import re
import secrets
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from linnaeus.errors import OutputError, RunExistsError, RunNotFoundError

_WRITTEN = """
config settled plan manifest quarantine history predictions out_of_fold evaluation report model checkpoints
tensorboard log figures tables label_issues folds
"""
_STEMS = frozenset(_WRITTEN.split())
"""First words of the names of everything a run writes, temporary files included (`.config.yaml.123.part`)."""
_A_PERSONS = ("corrections.csv", "new_labels.csv")
"""What a person decided in `linnaeus review`: it stays in the folder when its run is replaced."""
_DRAFT = re.compile(r"\..*\.[0-9a-f]{8}\.part")


@dataclass(frozen=True)
class RunDir:
    """Paths of one run. Creating the object touches nothing on disk."""

    path: Path

    @property
    def config(self) -> Path:
        """The resolved configuration; itself a recipe."""
        return self.path / "config.yaml"

    @property
    def settled(self) -> Path:
        """What was settled before training: preprocessing, the cache's key, the decisions, the time it took."""
        return self.path / "settled.json"

    @property
    def plan(self) -> Path:
        """Every decision with its reason, for people."""
        return self.path / "plan.md"

    @property
    def manifest(self) -> Path:
        """Every image with its target and split."""
        return self.path / "manifest.parquet"

    @property
    def quarantine(self) -> Path:
        """Images that could not be decoded: id, uri, reason."""
        return self.path / "quarantine.csv"

    @property
    def history(self) -> Path:
        """One row per epoch."""
        return self.path / "history.csv"

    @property
    def predictions(self) -> Path:
        """Logits of validation and test images."""
        return self.path / "predictions.parquet"

    @property
    def out_of_fold(self) -> Path:
        """Logits of training and validation images by heads that have not seen them, where there were folds."""
        return self.path / "out_of_fold.parquet"

    @property
    def label_issues(self) -> Path:
        """Labels that look wrong, the most suspicious first, where there were out-of-fold predictions."""
        return self.path / "label_issues.csv"

    @property
    def corrections(self) -> Path:
        """What a person decided about labels in `linnaeus review`; never deleted by a new run."""
        return self.path / "corrections.csv"

    @property
    def new_labels(self) -> Path:
        """Labels that a person gave to images outside the data in `linnaeus review --unlabelled`; kept likewise."""
        return self.path / "new_labels.csv"

    @property
    def evaluation(self) -> Path:
        """The scores, in a documented and stable form."""
        return self.path / "evaluation.json"

    @property
    def report(self) -> Path:
        """The page a person reads."""
        return self.path / "report.html"

    @property
    def figures(self) -> Path:
        """The charts of the report as SVG files."""
        return self.path / "figures"

    @property
    def tables(self) -> Path:
        """The tables of the report as CSV and LaTeX."""
        return self.path / "tables"

    @property
    def model(self) -> Path:
        """The bundle: the folder you ship."""
        return self.path / "model"

    @property
    def checkpoints(self) -> Path:
        """Training states to resume from."""
        return self.path / "checkpoints"

    @property
    def folds(self) -> Path:
        """One folder for each fold that is trained whole, with its own checkpoints and history."""
        return self.path / "folds"

    @property
    def tensorboard(self) -> Path:
        """TensorBoard event files, if asked for."""
        return self.path / "tensorboard"

    @property
    def log(self) -> Path:
        """What was printed, with times."""
        return self.path / "log.txt"


@dataclass(frozen=True)
class Draft:
    """A run that has not begun: its files lie in a folder of its own, beside the one that it will have.

    Attributes:
        run: where they lie, for as long as the draft is open.
        out: the folder that was asked for; None for the next free one of `name`.
        name: of the data; the folder is `runs/NAME`, `runs/NAME-2`, ...
        force: replace a run that is in `out`.
    """

    run: RunDir
    out: Path | None
    name: str
    force: bool

    def publish(self) -> RunDir:
        """Give the folder its name, all at once; of several runs that want one name, one gets it.

        A run that is replaced stays whole until then, and what a person decided about its labels is kept. Raises
        RunExistsError if there is something in the folder by now, and OutputError if it cannot be written.
        """
        if self.out is not None:
            check_free(self.out, force=self.force)
            _place(self.run.path, self.out, replace=self.force)
            return RunDir(self.out)
        for path in _names(self.name):
            try:
                _place(self.run.path, path, replace=False)
            except RunExistsError:
                continue  # taken by another run since we looked
            return RunDir(path)
        raise AssertionError("names do not run out")


@contextlib.contextmanager
def draft(out: Path | None, *, name: str, force: bool) -> Iterator[Draft]:
    """A folder to write a new run into, which gets its name by `publish`; without that, nothing is left of it.

    Whatever happens, only what was made here is deleted: the folder itself, and folders above it that nobody uses.

    Raises RunExistsError if there is something in `out` that may not be replaced; OutputError if nothing can be written
    there.
    """
    if out is not None:
        check_free(out, force=force)
    path = out or free_path(name)
    parent = path if _stays(path) else path.resolve().parent
    above = [folder for folder in (parent, *parent.parents) if not folder.exists()]
    written: Path | None = None
    try:
        written = _new_folder(parent, path.resolve().name)
        yield Draft(RunDir(written), out, name, force)
    finally:
        if written is not None:
            shutil.rmtree(written, ignore_errors=True)  # nothing is there any more if the run has begun
        for folder in above:
            with contextlib.suppress(OSError):  # others are in it
                folder.rmdir()


def check_free(path: Path, *, force: bool) -> None:
    """Raises RunExistsError if the folder holds anything and `force` is false, or anything that is not a run's."""
    if path.is_file():
        raise RunExistsError(f"{path} is a file, not a folder. Name another one with --out.")
    items = _items(path)
    if items and not force:
        raise RunExistsError(
            f"There is something in {path} already. Name another folder with --out, replace the run with "
            f"--force, or go on with it: linnaeus resume {path}"
        )
    foreign = [item for item in items if item not in _A_PERSONS and item.lstrip(".").split(".")[0] not in _STEMS]
    if foreign:
        raise RunExistsError(
            f"{path} holds '{foreign[0]}', which no run of Linnaeus wrote, so --force will not delete the folder. "
            "Name another one with --out."
        )
    if items:
        with at_work_in(RunDir(path)):
            pass  # nobody is


@contextlib.contextmanager
def at_work_in(run: RunDir) -> Iterator[None]:
    """Within the block no other process trains in this folder or replaces it; the system forgets it if ours dies.

    Raises RunExistsError if another process is at work there. Where there are no such locks, nothing is noticed.
    """
    if sys.platform == "win32":
        yield
        return
    import fcntl

    descriptor = os.open(run.path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise RunExistsError(f"Another process is training in {run.path}. Wait for it, or stop it first.") from error
    except OSError:
        pass  # a file system without locks
    try:
        yield
    finally:
        os.close(descriptor)


def free_path(name: str) -> Path:
    """The first of `runs/NAME`, `runs/NAME-2`, ... that is not there; another run may still take it."""
    return next(_names(name))


def _names(name: str) -> Iterator[Path]:
    """`runs/NAME`, `runs/NAME-2`, ... as far as they are not there."""
    for number in itertools.count(1):
        path = Path("runs") / (name if number == 1 else f"{name}-{number}")
        if not path.exists():
            yield path


def _items(path: Path) -> list[str]:
    """Names of what is in a folder, sorted, except for drafts; none if there is no folder."""
    if not path.is_dir():
        return []
    return sorted(item.name for item in path.iterdir() if not _DRAFT.fullmatch(item.name))


def _stays(path: Path) -> bool:
    """Whether the folder is there and cannot be exchanged: a mounted volume, the folder we work in, or one above which
    nothing can be written.
    """
    if not path.is_dir():
        return False
    place = path.resolve()
    return path.is_mount() or Path.cwd().is_relative_to(place) or not os.access(place.parent, os.W_OK)


def _new_folder(parent: Path, name: str) -> Path:
    """A folder that nobody else has made."""
    while True:
        path = parent / f".{name[:80]}.{secrets.token_hex(4)}.part"
        try:
            parent.mkdir(parents=True, exist_ok=True)
            path.mkdir()
        except (FileNotFoundError, FileExistsError) as error:
            if isinstance(error, FileExistsError) and not path.exists():
                raise _cannot_write(parent, error) from error  # a file stands where a folder should be
            continue  # another run has removed its folder, or has this very name
        except OSError as error:
            raise _cannot_write(parent, error) from error
        return path


def _cannot_write(path: Path, error: OSError) -> OutputError:
    return OutputError(f"Cannot write to {path}: {error.strerror}. Name another folder with --out.")


def _place(written: Path, path: Path, *, replace: bool) -> None:
    """Move a draft to its name; with `replace` in exchange for what is there."""
    if _stays(path):
        _move_into(written, path, replace=replace)
        return
    place = path.resolve()  # where a link leads: the link stays
    aside = _put_aside(place) if replace and _items(place) else None
    try:
        if aside is not None:
            for name in _A_PERSONS:
                if (aside / name).is_file():
                    shutil.copy2(aside / name, written / name)
        written.rename(place)  # takes the place of an empty folder, and of no other
    except BaseException as error:
        if aside is not None:
            aside.rename(place)
        if isinstance(error, OSError) and error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise _taken(path) from error
        if isinstance(error, OSError):
            raise _cannot_write(path, error) from error
        raise
    if aside is not None:
        shutil.rmtree(aside, ignore_errors=True)


def _put_aside(place: Path) -> Path:
    aside = place.with_name(f".{place.name[:80]}.{secrets.token_hex(4)}.part")
    try:
        place.rename(aside)
    except FileNotFoundError as error:
        raise _taken(place) from error  # another run with --force has put it aside
    except OSError as error:
        raise _cannot_write(place, error) from error
    return aside


def _move_into(written: Path, path: Path, *, replace: bool) -> None:
    """Where the folder itself cannot be exchanged, exchange what is in it; config.yaml last, which makes a run."""
    for name in _items(path):
        if replace and name not in _A_PERSONS:
            item = path / name
            shutil.rmtree(item) if item.is_dir() else item.unlink()
    try:
        (path / "manifest.parquet").open("xb").close()
    except FileExistsError as error:
        raise _taken(path) from error
    for item in sorted(written.iterdir(), key=lambda item: item.name == "config.yaml"):
        item.rename(path / item.name)


def _taken(path: Path) -> RunExistsError:
    return RunExistsError(f"Another run has begun in {path} meanwhile. Name another folder with --out.")


def open_existing(path: Path) -> RunDir:
    """Return the run in `path`; raises RunNotFoundError if it holds no config.yaml: none, or one made of others."""
    run = RunDir(path)
    if not run.config.is_file() and run.evaluation.is_file():
        raise RunNotFoundError(
            f"{path} is made of finished runs, and nothing was trained there. Name one of them: {run.plan} lists them."
        )
    if not run.config.is_file():
        raise RunNotFoundError(f"There is no run in {path} (no config.yaml there). Runs are listed by: ls runs/")
    return run
