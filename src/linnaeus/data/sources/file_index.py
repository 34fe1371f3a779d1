"""Finding the image that a table or a list means: by path, by name, or by id without extension.

A value is never given a file that only shares its name but lies in another folder than it says.
"""

from __future__ import annotations

import unicodedata
from pathlib import Path

from linnaeus.data.images.formats import IMAGE_EXTENSIONS
from linnaeus.data.sources.folder import walk_images
from linnaeus.errors import DataNotFoundError

MISSING, AMBIGUOUS = -1, -2


class FileIndex:
    """The images below a folder, found by what people write for them.

    Attributes:
        root: the folder, absolute.
        paths: paths below it with forward slashes, sorted folder by folder.
    """

    def __init__(self, root: Path, *, explicit: bool = False) -> None:
        """Walk `root`. `explicit` says that a person named it, so that whatever folders precede a name are its own.

        Raises DataNotFoundError if there is no such folder, DataError for a folder that cannot be read.
        """
        if not root.is_dir():
            raise DataNotFoundError(f"There is no folder of images {root}.")
        self.root = root.resolve()
        self.paths = list(walk_images(self.root))
        self._explicit = explicit
        self._by_name: dict[str, list[int]] = {}
        for place, path in enumerate(self.paths):
            name = _composed(path[path.rfind("/") + 1 :])
            for key in {name, _stem(name)}:
                self._by_name.setdefault(key, []).append(place)

    def uri(self, place: int) -> str:
        """The absolute path of a file."""
        return f"{self.root}/{self.paths[place]}"

    def find(self, value: str, *, prefer: str = "") -> int:
        """The place in `paths` of the file meant by a path, a name or an id; MISSING, or AMBIGUOUS if several fit.

        Of several that fit, the one in a folder called `prefer` is taken.
        """
        wanted = _composed(value.strip().replace("\\", "/")).removeprefix("./")
        if wanted.startswith("/"):
            wanted = wanted.removeprefix(f"{self.root}/")
        name = wanted[wanted.rfind("/") + 1 :]
        fitting = [place for place in self._by_name.get(name, ()) if self._fits(place, wanted, name)]
        if len(fitting) > 1:
            exact = [place for place in fitting if _composed(self.paths[place]) == wanted]
            preferred = [place for place in fitting if prefer and prefer in self.paths[place].lower().split("/")[:-1]]
            fitting = exact or preferred or fitting
        if not fitting:
            return MISSING
        return fitting[0] if len(fitting) == 1 else AMBIGUOUS

    def _fits(self, place: int, wanted: str, name: str) -> bool:
        if wanted == name:
            return True
        path = _composed(self.paths[place])
        own_name = path[path.rfind("/") + 1 :]
        if own_name != name:  # an id: compare without the extension
            path = path[: len(path) - len(own_name)] + name
        whole = f"/{path}"
        if whole.endswith(f"/{wanted}"):
            return True
        if not f"/{wanted}".endswith(whole):
            return False
        return "/" in path or self._explicit or wanted.split("/")[-2] == self.root.name


def _composed(text: str) -> str:
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def _stem(name: str) -> str:
    dot = name.rfind(".")
    return name[:dot] if dot > 0 and name[dot:].lower() in IMAGE_EXTENSIONS else name
