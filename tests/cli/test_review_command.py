"""`linnaeus review` as a process: it prints its address, ends on Ctrl-C, and says where the decisions are."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from tests.review.small_run import make_run

from linnaeus.cli.main import main

COMMAND = "import sys; from linnaeus.cli.main import main; sys.exit(main(sys.argv[1:]))"


def test_ctrl_c_ends_the_server_and_tells_what_to_do_with_the_decisions(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, "review", str(run), "--no-open"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "LINNAEUS_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert process.stdout is not None
    found = re.search(r"http://127\.0\.0\.1:\d+/", process.stdout.readline())
    assert found is not None, process.communicate()
    address = found.group()
    assert httpx.get(address).status_code == 403, "not without the key"
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    assert "Nothing was decided." in output
    with pytest.raises(httpx.ConnectError):
        httpx.get(address)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "There is no run in nowhere"),
        (["RUN", "--port", "99999"], "--port takes a number up to 65535"),
        (["RUN", "--unlabelled", "nowhere"], "There is no folder nowhere"),
        (["RUN", "--unlabelled", "empty"], "There are no images in empty"),
    ],
)
def test_what_cannot_be_reviewed_is_said(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LINNAEUS_CACHE", str(tmp_path / "cache"))
    Path("empty").mkdir()
    run = make_run(tmp_path) if "RUN" in arguments else tmp_path
    assert main(["review", *[str(run) if a == "RUN" else a for a in arguments], "--no-open"]) == 2
    assert message in capsys.readouterr().err
