"""`linnaeus review`: a page in the browser where a person puts labels right, or labels new images."""

from __future__ import annotations

import functools
import os
import secrets
import sys
import webbrowser
from collections.abc import Callable
from pathlib import Path
from socket import socket
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from linnaeus.cli.bars import Bars
from linnaeus.errors import ConfigError

if TYPE_CHECKING:
    from linnaeus.review.session import Session


def review(
    run: Path,
    /,
    *,
    unlabelled: Path | None = None,
    port: int = 0,
    open_: Annotated[bool, Parameter(name="--open")] = True,
) -> int:
    """Correct labels in the browser, or label new images.

    Opens a page that only this machine can reach. It shows suspected label errors, duplicates with different labels,
    confident errors and uncertain images, each beside its most similar images. Every decision is saved at once in
    RUN/corrections.csv; the data itself is not changed. Apply the corrections with
    `linnaeus train DATA --corrections RUN/corrections.csv`.

    Example: linnaeus review runs/photos

    Parameters
    ----------
    run
        Folder of a finished run.
    unlabelled
        Folder of new images to label instead, the most informative first. The labels are saved in RUN/new_labels.csv.
    port
        Port of the page. Default: any free port.
    open_
        Open the page in the browser.
    """
    if not 0 <= port < 2**16:
        raise ConfigError(f"--port takes a number up to 65535, not {port}.")

    from linnaeus.review.server import listen  # takes seconds: torch

    with listen(port) as listener:
        answer, session, address = _prepare(run, unlabelled, listener.getsockname()[1])
        print(f"Review at {address}\nCtrl-C ends it; every decision is kept at once.", flush=True)
        if open_ and _has_screen():
            webbrowser.open(address)
        try:
            answer(listener)
        except KeyboardInterrupt:
            pass
        finally:
            session.end()
            _tell(session)
    return 0


def _prepare(run: Path, unlabelled: Path | None, port: int) -> tuple[Callable[[socket], None], Session, str]:
    """What answers on a socket until Ctrl-C, what it reviews, and its address with the key."""
    from linnaeus.report.page import make_environment
    from linnaeus.review.features import open_folder, prepare_folder, prepare_run
    from linnaeus.review.heat import heat_of
    from linnaeus.review.server import create_app, serve
    from linnaeus.review.session import open_run
    from linnaeus.training.runtime import start_runtime

    session, folder, config = open_run(run)
    runtime = start_runtime(config.runtime)
    if unlabelled is None:
        session.prepare(lambda own: prepare_run(own, config, runtime))
    else:
        reviewed = session
        session, features = open_folder(unlabelled, folder, config, reviewed, runtime=runtime, progress=Bars())
        session.prepare(lambda own: prepare_folder(own, reviewed, config, runtime, features=features))
    token = secrets.token_urlsafe(16)
    style, favicon = (make_environment().get_template(name).render() for name in ("report.css", "favicon.svg"))
    app = create_app(session, token=token, port=port, style=style, favicon=favicon, heat=heat_of(session))
    return functools.partial(serve, app), session, f"http://127.0.0.1:{port}/?token={token}"


def _tell(session: Session) -> None:
    number = len(session.decisions)
    if number:
        print(f"{number:,} decisions in {session.decisions.path}. Use them: {session.command}")
    else:
        print("Nothing was decided.")


def _has_screen() -> bool:
    """Whether a browser would open in a window; without one it would take over the terminal."""
    return sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
