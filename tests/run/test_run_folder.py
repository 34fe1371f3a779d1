"""How a run takes its folder: whole, or not at all; what was there before, and whose it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from linnaeus import run_folder
from linnaeus.errors import OutputError, RunExistsError
from linnaeus.run_folder import Draft, draft


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(out: Path | None, text: str, *, force: bool = False, meanwhile: Callable[[], object] = lambda: None) -> Path:
    with draft(out, name="photos", force=force) as begun:
        fill(begun, text)
        meanwhile()
        return begun.publish().path


def fill(begun: Draft, text: str) -> None:
    begun.run.manifest.write_text(text)
    begun.run.config.write_text(text)
    (begun.run.checkpoints).mkdir()


def content(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


RUN = {"manifest.parquet": "new", "config.yaml": "new"}


def test_a_run_without_a_name_takes_the_next_that_is_free_by_then() -> None:
    assert write(None, "new") == Path("runs/photos")
    assert write(None, "new", meanwhile=lambda: Path("runs/photos-2").mkdir()) == Path("runs/photos-3")
    assert write(None, "new") == Path("runs/photos-4")
    assert content(Path("runs/photos")) == content(Path("runs/photos-3")) == RUN


def test_a_named_folder_that_somebody_fills_meanwhile_stays_theirs() -> None:
    def other() -> None:
        write(Path("mine"), "theirs")

    with pytest.raises(RunExistsError, match="There is something in mine already"):
        write(Path("mine"), "new", meanwhile=other)
    assert content(Path("mine")) == {"manifest.parquet": "theirs", "config.yaml": "theirs"}
    assert [path.name for path in Path.cwd().iterdir()] == ["mine"]


def test_between_the_last_look_and_the_renaming_nobody_can_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_folder, "check_free", lambda path, force: None)
    write(Path("mine"), "theirs")
    with pytest.raises(RunExistsError, match="Another run has begun in mine meanwhile"):
        write(Path("mine"), "new")
    assert content(Path("mine")) == {"manifest.parquet": "theirs", "config.yaml": "theirs"}


@pytest.mark.parametrize("out", [None, Path("deep/er/mine")])
def test_nothing_is_left_where_it_fails_and_what_others_made_is(out: Path | None) -> None:
    with pytest.raises(ZeroDivisionError), draft(out, name="photos", force=False) as begun:
        fill(begun, "new")
        raise ZeroDivisionError
    assert list(Path.cwd().iterdir()) == []
    with pytest.raises(ZeroDivisionError), draft(out, name="photos", force=False) as begun:
        (begun.run.path.parent / "theirs").touch()
        raise ZeroDivisionError
    assert [path.name for path in Path.cwd().rglob("*") if path.is_file()] == ["theirs"]


def test_a_replaced_run_stays_until_the_new_one_begins_and_a_persons_work_for_good() -> None:
    write(Path("mine"), "old")
    for name in ("corrections.csv", "new_labels.csv"):
        Path("mine", name).write_text(name)
    before = content(Path("mine"))
    with pytest.raises(ZeroDivisionError), draft(Path("mine"), name="photos", force=True) as begun:
        fill(begun, "new")
        assert content(Path("mine")) == before
        raise ZeroDivisionError
    assert content(Path("mine")) == before
    write(Path("mine"), "new", force=True)
    assert content(Path("mine")) == {**RUN, "corrections.csv": "corrections.csv", "new_labels.csv": "new_labels.csv"}
    assert [path.name for path in Path.cwd().iterdir()] == ["mine"]


def test_the_old_run_is_put_back_where_the_new_one_cannot_take_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    write(Path("mine"), "old")
    rename = Path.rename

    def fails(path: Path, target: Path) -> Path:
        if target.name == "mine" and "config.yaml" in content(path) and content(path)["config.yaml"] == "new":
            raise PermissionError(13, "Permission denied")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fails)
    with pytest.raises(OutputError, match="Cannot write to mine: Permission denied"):
        write(Path("mine"), "new", force=True)
    assert content(Path("mine")) == {"manifest.parquet": "old", "config.yaml": "old"}
    assert [path.name for path in Path.cwd().iterdir()] == ["mine"]


def test_what_no_run_wrote_is_never_deleted() -> None:
    write(Path("mine"), "old")
    Path("mine/thesis.docx").write_text("years")
    with pytest.raises(RunExistsError, match=r"holds 'thesis\.docx'"):
        write(Path("mine"), "new", force=True)
    assert Path("mine/thesis.docx").read_text() == "years"


def test_a_link_leads_to_the_run_as_before() -> None:
    Path("disk").mkdir()
    Path("mine").symlink_to("disk")
    write(Path("mine"), "old")
    write(Path("mine"), "new", force=True)
    assert Path("mine").is_symlink() and content(Path("disk")) == RUN


@pytest.mark.parametrize("kind", ["mounted", "worked in"])
def test_a_folder_that_cannot_be_exchanged_is_filled(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as the volume of a container, or the folder that commands are typed in."""
    volume = Path.cwd() / "volume"
    volume.mkdir()
    inode = volume.stat().st_ino
    if kind == "mounted":
        monkeypatch.setattr(Path, "is_mount", lambda path: path == volume)
    else:
        monkeypatch.chdir(volume)
    write(volume, "old")
    (volume / "corrections.csv").write_text("mine")
    with pytest.raises(RunExistsError, match="There is something in"):
        write(volume, "new")
    write(volume, "new", force=True)
    assert content(volume) == {**RUN, "corrections.csv": "mine"}
    assert volume.stat().st_ino == inode


def test_a_file_where_a_folder_should_be_is_said() -> None:
    Path("mine").touch()
    with pytest.raises(RunExistsError, match="mine is a file, not a folder"):
        write(Path("mine"), "new")
    with pytest.raises(OutputError, match=r"Cannot write to .*mine"):
        write(Path("mine/run"), "new")
