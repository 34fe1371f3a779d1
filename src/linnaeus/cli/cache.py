"""`linnaeus cache`: what is kept between runs, and how to be rid of it."""

from __future__ import annotations

from cyclopts import App
from rich.console import Console
from rich.table import Table
from rich.text import Text

cache = App(name="cache", help_format="markdown")


@cache.default
def show() -> None:
    """List or clear the decoded images kept between runs.

    They make the next run on the same images start at once, and can be deleted at any time. The environment variable
    LINNAEUS_CACHE names another folder for them.

    Example: `linnaeus cache`
    """
    from linnaeus.data.cache.build import format_bytes
    from linnaeus.data.cache.folder import cache_folder, list_caches  # takes seconds: torch

    entries = list_caches()
    console = Console()
    if not entries:
        console.print(f"Nothing is cached in {cache_folder()}.", markup=False, highlight=False, soft_wrap=True)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("cache", overflow="fold")
    for heading in ("images", "size (px)", "on disk", "last used"):
        table.add_column(heading, justify="right", no_wrap=True)
    for entry in entries:
        table.add_row(
            Text(entry.path.name),
            f"{entry.num_images:,}",
            f"{entry.width}x{entry.height}",
            format_bytes(entry.num_bytes),
            f"{entry.last_used.astimezone():%Y-%m-%d}",
        )
    console.print(table)
    total = format_bytes(sum(entry.num_bytes for entry in entries))
    console.print(
        f"{total} in {cache_folder()}. Delete all with: linnaeus cache clear",
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
