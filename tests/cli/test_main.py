"""The frame of the command line: what it lists, how errors look, and which exit status they have."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
import types

import pytest
from cyclopts import App

from linnaeus.cli import main as main_module
from linnaeus.cli.main import COMMANDS, build_app, main
from linnaeus.errors import DataNotFoundError, Interrupted
from linnaeus.version import __version__


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch):
    """A function that makes `linnaeus fail` raise what it is given, or return it."""

    def install(outcome: object) -> None:
        def fail() -> object:
            if isinstance(outcome, BaseException):
                raise outcome
            return outcome

        module = types.ModuleType("failing_command")
        module.fail = fail  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "failing_command", module)
        monkeypatch.setitem(main_module.COMMANDS, "fail", ("failing_command:fail", "Fails."))

    return install


def test_help_lists_every_command_without_importing_it_or_anything_heavy() -> None:
    code = (
        "import sys; from linnaeus.cli.main import main; status = main(['--help']);"
        "heavy = {'torch', 'pandas', 'pydantic', 'numpy', 'timm', 'PIL', 'rich.markdown'} & set(sys.modules);"
        "ours = [name for name in sys.modules if name.startswith('linnaeus')];"
        "print('STATUS', status, sorted(heavy), sorted(ours))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    page, _, facts = done.stdout.partition("STATUS ")
    ours = ["linnaeus", "linnaeus.cli", "linnaeus.cli.main", "linnaeus.errors", "linnaeus.version"]
    assert facts == f"0 [] {ours}\n"
    flat = " ".join(page.replace("│", " ").split())
    for name, (_, help_line) in COMMANDS.items():
        assert f" {name} {help_line} " in flat
    assert "linnaeus train digits" in page


def test_python_dash_m_is_the_same_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "linnaeus", "--version"], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, __version__, "")


@pytest.mark.parametrize("name", COMMANDS)
def test_the_commands_own_page_begins_with_its_line_in_the_list(name: str) -> None:
    import_path, help_line = COMMANDS[name]
    module, _, attribute = import_path.partition(":")
    command = getattr(importlib.import_module(module), attribute)
    function = command.default_command if isinstance(command, App) else command
    page = inspect.getdoc(function) or ""
    assert page.startswith(help_line.removesuffix("."))
    assert "Example: " in page


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (["trian", "x"], "There is no command 'trian'. Did you mean 'train'? See: linnaeus --help"),
        (["photos/"], "There is no command 'photos/'. See: linnaeus --help"),
        (["cache", "claer"], "See: linnaeus cache --help"),
        (["predict"], "MODEL_OR_RUN requires an argument. See: linnaeus predict --help"),
        (["predict", "model"], "PATHS requires an argument"),
        (["predict", "model", "x", "--top-k", "three"], 'unable to convert "three" into int'),
        (["predict", "model", "x", "--topk", "3"], "Unknown option: --topk. Did you mean --top-k?"),
    ],
)
def test_a_usage_error_is_one_plain_line_and_status_2(
    capsys: pytest.CaptureFixture[str], tokens: list[str], message: str
) -> None:
    assert main(tokens) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("Error: ")
    assert message in err
    assert err.count("\n") == 1


def test_a_mistyped_command_imports_no_command(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object) -> None:
        raise AssertionError("a command was imported")

    monkeypatch.setattr("cyclopts.command_spec.importlib.import_module", forbidden)
    assert main(["trian"]) == 2


def test_an_error_of_the_user_is_one_line_without_traceback_and_status_2(broken, capsys) -> None:
    broken(DataNotFoundError("There is no folder /x [bold]."))
    assert main(["fail"]) == 2
    assert capsys.readouterr() == ("", "Error: There is no folder /x [bold].\n")


@pytest.mark.parametrize(
    ("stop", "words"),
    [(Interrupted("Saved. Go on with: x"), "Saved. Go on with: x\n"), (KeyboardInterrupt(), "Stopped.\n")],
)
def test_a_stop_has_status_130_and_no_traceback(broken, capsys, stop: BaseException, words: str) -> None:
    broken(stop)
    assert main(["fail"]) == 130
    assert capsys.readouterr() == ("", words)


def test_a_bug_shows_its_traceback_and_asks_for_a_report(broken, capsys) -> None:
    broken(ZeroDivisionError("by nothing"))
    assert main(["fail"]) == 70
    err = capsys.readouterr().err
    assert "Traceback (most recent call last)" in err
    assert "ZeroDivisionError: by nothing" in err
    assert f"bug in Linnaeus {__version__}. Please report it" in err


def test_a_full_disk_is_said_plainly(broken, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(main_module, "_forget_stdout", lambda: None)
    broken(OSError(28, "No space left on device", "/out/file"))
    assert main(["fail"]) == 2
    assert capsys.readouterr().err == "Error: The disk is full: /out/file could not be written.\n"


@pytest.mark.parametrize(("returned", "status"), [(0, 0), (1, 1), (None, 0), ("text", 0)])
def test_the_number_a_command_returns_is_the_exit_status(broken, returned: object, status: int) -> None:
    broken(returned)
    assert main(["fail"]) == status


@pytest.mark.skipif(sys.platform == "win32", reason="pipes of POSIX")
def test_a_reader_that_leaves_early_is_no_error() -> None:
    code = "import sys; from linnaeus.cli.main import main; input(); sys.exit(main(['--help']))"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin and process.stdout and process.stderr
        process.stdout.close()
        process.stdin.write(b"\n")
        process.stdin.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=60) == 1


def test_no_command_shows_the_list(capsys) -> None:
    assert main([]) == 0
    assert "Commands" in capsys.readouterr().out


def test_a_commands_page_explains_its_options(capsys) -> None:
    assert main(["predict", "--help"]) == 0
    page = capsys.readouterr().out
    for expected in (
        "MODEL_OR_RUN",
        "PATHS",
        "--out",
        "--top-k",
        "--device",
        "--batch-size",
        "[default: auto]",
        "Example:",
    ):
        assert expected in page
    assert "linnaeus train digits" not in page


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_commands_and_options(shell: str) -> None:
    script = build_app().generate_completion(shell=shell)  # type: ignore[arg-type]
    for word in ("predict", "cache", "clear", "top-k"):
        assert word in script


def test_completion_is_installed_where_the_shell_looks(tmp_path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    for name in ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    assert main(["--install-completion", "--shell", "fish"]) == 0
    scripts = list(tmp_path.rglob("linnaeus*"))
    assert len(scripts) == 1
    assert str(scripts[0]) in capsys.readouterr().out.replace("\n", "")
