"""Which files are images: by extension, or by their first bytes where that says nothing. No image is decoded.

The first glance in the life of an image; what passes here and turns out to be none is found by `decode`.
"""

from __future__ import annotations

from pathlib import Path

# fmt: off
IMAGE_EXTENSIONS = frozenset((
    ".apng", ".avif", ".bmp", ".dib", ".gif", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpf", ".jpg", ".jpx", ".mpo",
    ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".qoi", ".tif", ".tiff", ".webp",
))
_OTHER_EXTENSIONS = frozenset((
    ".avi", ".csv", ".db", ".gz", ".html", ".ipynb", ".json", ".jsonl", ".log", ".mat", ".md", ".mov", ".mp4", ".npy",
    ".npz", ".pdf", ".py", ".tar", ".tsv", ".txt", ".xml", ".yaml", ".yml", ".zip",
))
# fmt: on
SIGNATURES = (
    b"\xff\xd8\xff",
    b"\x89PNG\r\n\x1a\n",
    b"GIF87a",
    b"GIF89a",
    b"BM",
    b"II*\x00",
    b"MM\x00*",
    b"\x00\x00\x00\x0cjP  \r\n\x87\n",
    b"qoif",
)


def looks_like_image(path: str) -> bool:
    """Whether a file is taken for an image: by its extension, or by its first bytes if that says nothing."""
    name = path[path.rfind("/") + 1 :]
    dot = name.rfind(".")
    extension = name[dot:].lower() if dot > 0 else ""
    if extension in IMAGE_EXTENSIONS:
        return True
    if extension in _OTHER_EXTENSIONS:
        return False
    try:
        with Path(path).open("rb") as file:
            start = file.read(16)
    except OSError:
        return False
    riff = start[:4] == b"RIFF" and start[8:12] == b"WEBP"
    return riff or start[4:12] == b"ftypavif" or start.startswith(SIGNATURES)
