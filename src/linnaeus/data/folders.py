"""Which folders are the user's own, so that nothing is ever written into them.

Beside `sources`, which reads what lies there. Looks at names of files, never at the files.
"""

from __future__ import annotations

import os
from pathlib import Path

from linnaeus.config.settings import DataConfig
from linnaeus.data.manifest import Manifest
from linnaeus.errors import OutputError


def check_outside(path: Path, config: DataConfig, manifest: Manifest | None = None, *, option: str = "--out") -> None:
    """Raises OutputError for a path inside the user's data, or over a file of theirs.

    Args:
        path: what would be written.
        config: names the data.
        manifest: its images, once they are known: without it, of a table only the folder that it names is looked at.
        option: by which the path was chosen.
    """
    place = path.expanduser().resolve()
    for folder in data_folders(config, manifest):
        if place.is_relative_to(folder):
            raise OutputError(
                f"{path} would be written into the data, {folder}, which is never written to. Name another with "
                f"{option}."
            )


def data_folders(config: DataConfig, manifest: Manifest | None = None) -> list[Path]:
    """The data named by a configuration, absolute: folders, single files, and folders in which images lie.

    Of a table with its images below its own folder: the deepest folder that holds all of them. It may be the table's
    own, but is not where the images have a folder beside the table.
    """
    named = [Path(name).expanduser().resolve() for name in (config.source, config.test_data, config.image_root) if name]
    found = [path for path in named if path.exists()]
    if manifest is None:
        return found
    folders = _image_folders(manifest)
    for table in (path for path in found if path.is_file()):
        below = [folder for folder in folders if folder.is_relative_to(table.parent)]
        if below:
            found.append(Path(os.path.commonpath(below)))
    covered = [folder for folder in folders if not any(folder.is_relative_to(other) for other in found)]
    return [*found, *covered]


def _image_folders(manifest: Manifest) -> list[Path]:
    """Folders that hold an image, each once."""
    files = (uri for uri in manifest.uris.to_pylist() if "://" not in uri)
    return sorted({Path(folder or ".").resolve() for folder in {uri.rpartition("/")[0] for uri in files}})
