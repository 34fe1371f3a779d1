"""`linnaeus cache`: what is kept between runs, and how to be rid of it."""

from __future__ import annotations

import re

from cyclopts import App
from rich.console import Console
from rich.table import Table
from rich.text import Text

_KEY = re.compile(r"(?<=-)([0-9a-f]{8})[0-9a-f]{16,}$")
"""Of a key the first eight digits tell enough."""

cache = App(name="cache", help_format="markdown")


@cache.default
def show() -> None:
    """List or clear what is kept between runs: decoded images, features, downloads.

    The cache, which also holds extracted archives, lets the next run on the same images start at once. It can be
    deleted at any time. Set the environment variable LINNAEUS_CACHE to use another folder.

    Example: `linnaeus cache`
    """
    from linnaeus.data.cache.build import format_bytes
    from linnaeus.data.cache.folder import KINDS, cache_folder, list_caches  # takes seconds: torch

    entries = list_caches()
    console = Console()
    if not entries:
        console.print(f"Nothing is cached in {cache_folder()}.", markup=False, highlight=False, soft_wrap=True)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("cache", overflow="fold")
    table.add_column("holds", overflow="fold")
    for heading in ("on disk", "last used"):
        table.add_column(heading, justify="right", no_wrap=True)
    for entry in entries:
        table.add_row(
            Text(_KEY.sub(r"\1…", entry.path.name)),
            Text(entry.holds),
            format_bytes(entry.num_bytes),
            f"{entry.last_used.astimezone():%Y-%m-%d}",
        )
    console.print(table)
    sums = {kind: sum(entry.num_bytes for entry in entries if entry.kind == kind) for kind in KINDS}
    parts = ", ".join(f"{format_bytes(size)} {kind}" for kind, size in sums.items() if size)
    console.print(
        f"{format_bytes(sum(sums.values()))} ({parts}) in {cache_folder()}. Delete all with: linnaeus cache clear",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


@cache.command
def clear() -> None:
    """Delete them all, except those being built right now.

    Example: `linnaeus cache clear`
    """
    from linnaeus.data.cache.build import format_bytes
    from linnaeus.data.cache.folder import cache_folder, clear_caches

    freed = clear_caches()
    print(f"{format_bytes(freed)} freed in {cache_folder()}.")
