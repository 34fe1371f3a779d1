"""Thousands of damaged image files: the cache takes them all, lists what it cannot read, and makes up no pixels."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from linnaeus.analysis.health import examine
from linnaeus.data.cache.images import CachedImages, open_cache
from linnaeus.data.image_spec import ImageSpec
from linnaeus.data.images.decode import read_image
from linnaeus.data.manifest import Manifest, manifest_from_columns
from linnaeus.errors import UnreadableImageError

SPEC = ImageSpec(8, 8)
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "QOI", "JPEG2000")
NUM_FILES = 3000


def mutate(content: bytes, generator: np.random.Generator) -> bytes:
    """Bits flipped (a third of the files), an end cut off, a piece taken out, or a piece of noise put in."""
    kind = generator.integers(6)
    if kind < 2:
        damaged = bytearray(content)
        for place in generator.integers(0, len(content), generator.integers(1, 9)):
            damaged[place] ^= 1 << int(generator.integers(8))
        return bytes(damaged)
    first, second = sorted(generator.integers(0, len(content) + 1, 2).tolist())
    if kind < 4:
        return content[:second]
    return content[:first] + (b"" if kind == 4 else generator.bytes(6)) + content[second:]


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """Every file comes from another picture, so that no two could be taken for each other."""
    root, generator, paths = tmp_path_factory.mktemp("damaged"), np.random.default_rng(7), []
    for k in range(NUM_FILES):
        image = Image.fromarray(generator.integers(0, 256, (9, 11, 3), np.uint8))
        file = io.BytesIO()
        image.save(file, FORMATS[k % len(FORMATS)])
        paths.append(str(root / f"{k}.bin"))
        Path(paths[-1]).write_bytes(mutate(file.getvalue(), generator))
    names = [f"{k}" for k in range(NUM_FILES)]
    return manifest_from_columns(names, paths, [str(k % 2) for k in range(NUM_FILES)])


@pytest.fixture(scope="module")
def cached(damaged: Manifest, tmp_path_factory: pytest.TempPathFactory) -> CachedImages:
    return open_cache(damaged, SPEC, folder=tmp_path_factory.mktemp("cache"), threads=2)


def test_every_row_is_its_own_file_or_listed_as_unreadable(damaged: Manifest, cached: CachedImages) -> None:
    assert 300 < cached.readable.sum() < NUM_FILES - 300, "the damage should be neither fatal nor harmless to all"
    assert sorted(cached.problems) == np.flatnonzero(~cached.readable).tolist()
    for row, uri in enumerate(damaged.uris.to_pylist()):
        try:
            expected = SPEC.fit(read_image(uri))
        except UnreadableImageError:
            assert cached.problems[row].strip(), uri
            assert not cached.pixels[row].any(), uri
        else:
            assert np.array_equal(cached.pixels[row], expected), uri


def test_the_audit_finds_the_same_files_unreadable(damaged: Manifest, cached: CachedImages) -> None:
    found = examine(damaged, threads=2)
    assert sorted(found.problems) == sorted(cached.problems)
    assert all(found.problems.values())
