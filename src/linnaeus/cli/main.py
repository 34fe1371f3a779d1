"""The command `linnaeus`: its list of commands, and what errors look like and which exit status they have.

Commands are named by import path and loaded when they run, so that `linnaeus --help` imports neither torch nor pandas.
Exit status: 0 all well; 1 some inputs failed (`predict`); 2 something the user can mend; 70 a bug of ours; 130 stopped.
"""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Sequence

from cyclopts import App, CycloptsError, UnknownCommandError

from linnaeus.errors import Interrupted, LinnaeusError, nearest_name
from linnaeus.version import __version__

OK, SOME_FAILED, USER_ERROR, BUG, STOPPED = 0, 1, 2, 70, 130

COMMANDS: dict[str, tuple[str, str]] = {
    "train": ("linnaeus.cli.train:train", "Train a classifier on labelled images, test it and write a report."),
    "resume": ("linnaeus.cli.resume:resume", "Resume a run that was stopped."),
    "inspect": (
        "linnaeus.cli.inspect:inspect",
        "Check labelled images for problems: broken files, duplicates, leaks between splits, shortcuts.",
    ),
    "predict": ("linnaeus.cli.predict:predict", "Classify images with a trained model."),
    "ensemble": ("linnaeus.cli.ensemble:ensemble", "Combine several trained models into an ensemble."),
    "review": ("linnaeus.cli.review:review", "Correct labels in the browser, or label new images."),
    "compare": (
        "linnaeus.cli.compare:compare",
        "Compare trained models on the same images, and test which differences are significant.",
    ),
    "evaluate": (
        "linnaeus.cli.evaluate:evaluate",
        "Score the predictions of a finished run, or those of any other model from a file.",
    ),
    "explain": (
        "linnaeus.cli.explain:explain",
        "Show which parts of an image a trained model bases its prediction on.",
    ),
    "recipes": ("linnaeus.cli.recipes:recipes", "List the recipes that come with Linnaeus, or print one."),
    "models": ("linnaeus.cli.models:models", "List the pretrained backbones and the weights that are on this machine."),
    "cache": (
        "linnaeus.cli.cache:cache",
        "List or clear what is kept between runs: decoded images, features, downloads.",
    ),
    "--install-completion": ("linnaeus.cli.completion:install", "Install shell completion for these commands."),
}
"""Name -> import path, and the line in `linnaeus --help`, which has to be known without importing the command."""

_EPILOGUE = """Try it:
  linnaeus train digits
  linnaeus train photos/ --out runs/photos
  linnaeus predict runs/photos new/ --out labels.csv"""


def build_app(*, listing: bool = False) -> App:
    """The commands; none of them is imported yet.

    `listing` is for the page that `linnaeus --help` shows: it brings the one-line helps, which would otherwise stand in
    for each command's own page, and plain text, because loading rich's Markdown takes as long as all the rest.
    """
    app = App(
        name="linnaeus",
        version=__version__,
        help="Turns labelled images into an image classifier you can trust and ship.",
        help_format="plaintext" if listing else "markdown",
        help_epilogue=_EPILOGUE if listing else "",
        suppress_keyboard_interrupt=False,
        result_action="return_value",
        exit_on_error=False,
        print_error=False,
    )
    for position, (name, (import_path, help_line)) in enumerate(COMMANDS.items()):
        app.command(import_path, name=name, help=help_line if listing else None, sort_key=position)
    return app


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line (`sys.argv` if None) and return its exit status; never raises for what a user did."""
    tokens = sys.argv[1:] if arguments is None else list(arguments)
    try:
        status = build_app(listing=not tokens or tokens[0] in ("--help", "-h"))(tokens)
        sys.stdout.flush()
    except CycloptsError as error:
        print(f"Error: {_usage_message(error)}", file=sys.stderr)
        return USER_ERROR
    except LinnaeusError as error:
        print(f"Error: {error}", file=sys.stderr)
        return USER_ERROR
    except Interrupted as stop:
        print(stop, file=sys.stderr)
        return STOPPED
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return STOPPED
    except BrokenPipeError:
        _forget_stdout()
        return SOME_FAILED
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            print(f"Error: The disk is full: {error.filename or 'the output'} could not be written.", file=sys.stderr)
            _forget_stdout()
            return USER_ERROR
        traceback.print_exc()
        print(
            f"\nThis is a bug in Linnaeus {__version__}. Please report it with the lines above and the command you "
            "typed.",
            file=sys.stderr,
        )
        return BUG
    return status if isinstance(status, int) else OK


def _usage_message(error: CycloptsError) -> str:
    if isinstance(error, UnknownCommandError) and not error.command_chain and error.unused_tokens:
        # Cyclopts would import every command to name the nearest.
        name = error.unused_tokens[0]
        return f"There is no command '{name}'.{nearest_name(name, COMMANDS)} See: linnaeus --help"
    return f"{error} See: {' '.join(['linnaeus', *(error.command_chain or ())])} --help"


def _forget_stdout() -> None:
    """Whoever read our output has left (`| head`): let Python's last flush go nowhere instead of complaining."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
