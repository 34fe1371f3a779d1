"""Two processes that make the same thing at the same moment: it is made once, and whole."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from linnaeus.atomic import locked, write_text
from linnaeus.data.cache.folder import list_caches

_TOGETHER = """
import sys, time
from pathlib import Path
def together(place):
    # Both are there before either goes on.
    Path(place, sys.argv[1]).touch()
    while not (Path(place, "a").exists() and Path(place, "b").exists()):
        time.sleep(0.001)
"""

_IMAGES_AND_FEATURES = """
from contextlib import nullcontext
import numpy as np, torch
from linnaeus.data.cache.images import open_cache
from linnaeus.data.image_spec import ImageSpec
from linnaeus.data.loader import ImageStore
from linnaeus.data.sources import read_source
from linnaeus.models import build_classifier
from linnaeus.training.features import extract_features
spec, place = ImageSpec(16, 16), sys.argv[2]
torch.manual_seed(0)
torch.set_num_threads(1)
classifier = build_classifier("mish_cnn", num_classes=2, image_size=16, options={})
together(place)
manifest = read_source(place + "/d.npz")
cache = open_cache(manifest, spec, threads=1)
store = ImageStore(cache, manifest, torch.device("cpu"))
rows = np.arange(len(manifest))
kept = extract_features(
    classifier, store, train_rows=rows, other_rows=rows[:0], spec=spec, autocast=nullcontext, batch_size=8
)
print(cache.readable.all(), cache.pixels.sum(), np.asarray(kept.values, np.float64).sum())
"""

_DOWNLOAD = """
import types
from PIL import Image
class Label: pass
Label.__name__ = "ClassLabel"
Label.names = ["cat", "dog"]
class Picture: pass
Picture.__name__ = "Image"
class Rows(list):
    features = {"image": Picture(), "label": Label()}
def load_dataset(name):
    with open(sys.argv[2] + "/downloads", "a") as file:
        file.write("x")
    return {"train": Rows({"image": Image.new("RGB", (4, 4), (k, 0, 0)), "label": k % 2} for k in range(60))}
sys.modules["datasets"] = types.SimpleNamespace(load_dataset=load_dataset)
from linnaeus.data.sources import read_source
together(sys.argv[2])
manifest = read_source("hf:a/b")
print(len(manifest), manifest.class_counts().tolist())
"""


def run_two(code: str, place: Path) -> list[str]:
    """What two processes print that run the same code, both having come to `together` before either goes on."""
    environment = os.environ | {"LINNAEUS_CACHE": str(place / "cache"), "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _TOGETHER + code, name, str(place)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in ("a", "b")
    ]
    answers = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0, 0], answers
    return [out for out, _ in answers]


def test_a_compressed_array_its_images_and_their_features_are_made_once(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    np.savez_compressed(tmp_path / "d.npz", x=rng.integers(0, 256, (200, 20, 20, 3), np.uint8), y=np.arange(200) % 2)
    one, other = run_two(_IMAGES_AND_FEATURES, tmp_path)
    assert one == other and one.startswith("True ")
    assert sorted(entry.kind for entry in list_caches(tmp_path / "cache")) == ["extracted", "features", "images"]
    left = [path.name for path in (tmp_path / "cache").rglob("*") if path.suffix in (".part", ".lock")]
    assert left == []


def test_a_data_set_from_the_network_is_downloaded_once(tmp_path: Path) -> None:
    assert run_two(_DOWNLOAD, tmp_path) == ["60 [30, 30]\n"] * 2
    assert (tmp_path / "downloads").read_text() == "x"
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["hf-a--b"]
    assert len(list((tmp_path / "cache").rglob("*.png"))) == 60


def test_names_in_the_network_that_look_alike_are_two_data_sets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from linnaeus.data.sources import hub

    monkeypatch.setenv("LINNAEUS_CACHE", str(tmp_path))
    monkeypatch.setattr(
        hub,
        "_huggingface",
        lambda name: iter([("train", Image.new("RGB", (2, 2)), f"{name[-1]}{k}") for k in range(2)]),
    )
    assert [hub.read_hub(name).num_classes for name in ("hf:a/b-c", "hf:a-b/c")] == [2, 2]
    assert len(list(tmp_path.iterdir())) == 2


def test_threads_of_one_process_write_the_same_file_whole(tmp_path: Path) -> None:
    path, texts = tmp_path / "file.txt", ["a" * 200_000, "b" * 200_000]
    failed: list[BaseException] = []

    def write(text: str) -> None:
        try:
            for _ in range(30):
                write_text(path, text)
                assert path.read_text() in texts
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=write, args=(text,)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert [item.name for item in tmp_path.iterdir()] == ["file.txt"]


@pytest.mark.skipif(sys.platform == "win32", reason="no flock, and no umask")
def test_a_file_is_as_readable_as_the_umask_lets_it_be(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "file.txt", "x")
    finally:
        os.umask(before)
    assert (tmp_path / "file.txt").stat().st_mode & 0o777 == 0o640


@pytest.mark.skipif(sys.platform == "win32", reason="no flock")
def test_a_lock_is_held_by_one_and_leaves_nothing(tmp_path: Path) -> None:
    with locked(tmp_path / "x", None) as held:
        assert held
        with pytest.raises(BlockingIOError), locked(tmp_path / "x", None):
            pass
    with locked(tmp_path / "x", None) as held:
        assert held
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="no flock")
def test_a_drive_that_knows_no_locks_is_no_obstacle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    def unsupported(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    with locked(tmp_path / "x", None) as held:
        assert not held
    assert list(tmp_path.iterdir()) == []
