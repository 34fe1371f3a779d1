"""Runs that start together, and runs that are stopped before they begin; with real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.forms import folders

import linnaeus
from linnaeus.errors import Interrupted
from linnaeus.run import fit as fit_module
from linnaeus.run.finished import Run
from linnaeus.run_folder import RunDir

CHILD = """
import signal, sys, time
from pathlib import Path

import linnaeus
from linnaeus.errors import Interrupted, RunError
from linnaeus.progress import SILENT

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell in the background has it ignored
name, out, mode = sys.argv[1], sys.argv[2] or None, sys.argv[3]


class Meeting:
    '''Waits when the first images are decoded: until the other process is there, or for good.'''
    def say(self, message): pass
    def log_to(self, path): pass
    def task(self, description, *, total, unit):
        if not Path(f"{name}.ready").exists():
            Path(f"{name}.ready").touch()
            while mode == "stop" or not all(Path(f"{other}.ready").exists() for other in "ab"):
                time.sleep(0.01)
        return SILENT.task(description, total=total, unit=unit)


settings = {"seed": ord(name), "image": {"size": 16 if name == "a" else 17}, "runtime": {"threads": 1}}
settings |= {"data": {"top_classes": 2}, "model": {"options": {"widths": [8, 8, 8]}}}
settings |= {"evaluate": {"bootstrap_samples": 100, "explained_errors": 0}}
try:
    run = linnaeus.train("digits", out=out, epochs=1, settings=settings, progress=Meeting())
except RunError as error:
    print(error)
    sys.exit(2)
except (KeyboardInterrupt, Interrupted) as stop:
    print(stop)
    sys.exit(130)
print(run.path)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "child.py").write_text(CHILD)
    return tmp_path


def start(folder: Path, name: str, *, out: str = "", mode: str = "train") -> subprocess.Popen[str]:
    environment = {**os.environ, "LINNAEUS_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "child.py", name, out, mode],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    try:
        said, errors = process.communicate(timeout=600)
    finally:
        process.kill()  # it has ended, unless something is wrong
    assert "Traceback" not in errors, errors
    return process.returncode, said.strip()


def check_whole(path: Path, *, seed: int) -> None:
    """One run, and nothing of another in it."""
    run = Run(path)
    assert run.config.seed == seed and run.report.is_file()
    assert run.bundle.image_spec.height == run.config.image.size == (16 if seed == ord("a") else 17)
    assert len(run.history) == 1


def test_two_runs_without_a_name_take_two_folders(folder: Path) -> None:
    """They took the same one, mixed their files, and the one that failed deleted the other's."""
    processes = {name: start(folder, name) for name in "ab"}
    paths = {}
    for name, process in processes.items():
        status, paths[name] = ended(process)
        assert status == 0
    assert sorted(paths.values()) == ["runs/digits", "runs/digits-2"]
    for name, path in paths.items():
        check_whole(folder / path, seed=ord(name))
    assert sorted(item.name for item in (folder / "runs").iterdir()) == ["digits", "digits-2"]


def test_of_two_runs_in_one_named_folder_one_is_refused_and_the_other_is_whole(folder: Path) -> None:
    processes = {name: start(folder, name, out="out/mine") for name in "ab"}
    found = {name: ended(process) for name, process in processes.items()}
    [winner] = [name for name, (status, _) in found.items() if status == 0]
    [loser] = [name for name, (status, _) in found.items() if status == 2]
    assert "out/mine" in found[loser][1] and "Name another folder with --out" in found[loser][1]
    check_whole(folder / "out/mine", seed=ord(winner))
    assert [item.name for item in (folder / "out").iterdir()] == ["mine"]


@pytest.mark.parametrize("out", ["", "out/mine"])
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
def test_nothing_is_left_of_a_run_that_is_stopped_before_it_begins(folder: Path, out: str) -> None:
    process = start(folder, "a", out=out, mode="stop")
    while not (folder / "a.ready").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    status, _ = ended(process)
    assert status == 130
    assert not (folder / "runs").exists() and not (folder / "out").exists()


def test_a_run_that_is_stopped_before_its_first_step_can_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINNAEUS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    photos = folders(tmp_path / "photos")
    small = {"model": {"options": {"widths": [8, 8, 8]}}, "runtime": {"threads": 1}}

    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(fit_module, "_job", stopped)
        with pytest.raises(Interrupted, match=r"^Stopped\. Go on with: linnaeus resume run$"):
            linnaeus.train(photos, out="run", epochs=1, settings=small)
    assert linnaeus.resume("run").report.is_file()


def test_one_folder_is_worked_in_by_one_process(folder: Path) -> None:
    """Another that would go on with the run, or replace it, is told so."""
    from linnaeus.errors import RunExistsError
    from linnaeus.run_folder import at_work_in, check_free

    run = RunDir(folder / "run")
    run.path.mkdir()
    run.config.write_text("seed: 1\n")
    with at_work_in(run):
        with pytest.raises(RunExistsError, match="Another process is training in"), at_work_in(run):
            pass
        with pytest.raises(RunExistsError, match="Another process is training in"):
            check_free(run.path, force=True)
    check_free(run.path, force=True)
