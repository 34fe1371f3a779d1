"""`linnaeus --install-completion`: the shell learns the commands and their options."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter
from cyclopts.completion.detect import ShellDetectionError, detect_shell

from linnaeus.cli.main import build_app
from linnaeus.errors import ConfigError

Shell = Literal["bash", "zsh", "fish", "powershell"]


def install(*, shell: Annotated[Shell | None, Parameter(help="Your shell; found out if not given.")] = None) -> None:
    """Install shell completion for these commands.

    Writes one script into your shell's folder of completions and a line that loads it into its start-up file.

    Example: `linnaeus --install-completion --shell bash`
    """
    if shell is None:
        try:
            shell = detect_shell()
        except ShellDetectionError as error:
            raise ConfigError("Cannot tell which shell this is. Name it: --shell bash") from error
    path = build_app().install_completion(shell=shell)
    print(f"Completion for {shell} is in {path}. It works in the next shell you open.")
