"""The cache: decoded once, found again, resumed after a kill, and never in the user's way."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import shutil
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from linnaeus.data.cache import build, tasks
from linnaeus.data.cache import images as cache_module
from linnaeus.data.cache.folder import cache_folder, clear_caches, list_caches
from linnaeus.data.cache.images import CachedImages, open_cache
from linnaeus.data.image_spec import ImageSpec
from linnaeus.data.images.decode import read_image
from linnaeus.data.images.scenes import read_scene
from linnaeus.data.manifest import Manifest, manifest_from_columns
from linnaeus.data.sources import read_source
from linnaeus.errors import OutputError, UnreadableImageError
from linnaeus.progress import Task

SPEC = ImageSpec(12, 10)


@pytest.fixture(autouse=True)
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LINNAEUS_CACHE", str(tmp_path / "caches"))
    monkeypatch.setattr(build, "_CHUNK_ROWS", 8)
    return tmp_path / "caches"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """30 images of noise in two classes; two of them cannot be decoded."""
    rng = np.random.default_rng(0)
    for k in range(30):
        folder = tmp_path / "data" / ("a" if k < 15 else "b")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (14, 9 + k, 3), dtype=np.uint8)).save(folder / f"{k:02d}.png")
    (tmp_path / "data/a/03.png").write_bytes(b"no image")
    (tmp_path / "data/b/20.png").write_bytes(b"")
    return tmp_path / "data"


class Watching:
    """A progress that counts, and may do something at a given count."""

    def __init__(self, at: int = -1, action: Any = None) -> None:
        self.said: list[str] = []
        self.count, self.total, self.at, self.action = 0, 0, at, action

    def say(self, message: str) -> None:
        self.said.append(message)

    def log_to(self, path: Path) -> None:
        raise AssertionError("a cache keeps no log")

    @contextmanager
    def task(self, description: str, *, total: int, unit: str) -> Iterator[Task]:
        self.total = total
        yield self

    def advance(self, count: int = 1, *, status: str = "") -> None:
        self.count += count
        if self.action is not None and self.count >= self.at:
            self.action()


def assert_right(cached: CachedImages, manifest: Manifest, spec: ImageSpec = SPEC) -> None:
    """Every readable row holds what decoding it anew gives, and exactly the two bad files are not readable."""
    assert cached.pixels.shape == (len(manifest), spec.height, spec.width, 3) and cached.pixels.dtype == np.uint8
    for row in np.flatnonzero(cached.readable).tolist():
        assert np.array_equal(cached.pixels[row], spec.fit(read_image(manifest.uris[row].as_py()))), row
    assert {manifest.ids[row].as_py(): reason for row, reason in cached.problems.items()} == {
        "a/03.png": "it is not an image of a known format",
        "b/20.png": "the file is empty",
    }
    assert np.flatnonzero(~cached.readable).tolist() == sorted(cached.problems)


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


@pytest.mark.parametrize("resize", ["squash", "crop", "pad", "letterbox"])
def test_rows_hold_the_fitted_images_and_bad_files_their_reasons(data: Path, resize: Any) -> None:
    manifest = read_source(str(data))
    spec = dataclasses.replace(SPEC, resize=resize)
    progress = Watching()
    assert_right(open_cache(manifest, spec, threads=3, progress=progress), manifest, spec)
    assert progress.count == progress.total == 30


def test_reopening_decodes_nothing_and_writes_only_the_time_of_use(
    data: Path, caches: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = read_source(str(data))
    open_cache(manifest, SPEC)
    before = contents(caches)
    monkeypatch.setattr(build, "build", None)
    monkeypatch.setattr(cache_module, "build", None)
    assert_right(open_cache(manifest, SPEC), manifest)
    after = contents(caches)
    changed = [name for name in after if after[name] != before[name]]
    assert after.keys() == before.keys() and [Path(name).name for name in changed] == ["info.json"]
    assert after[changed[0]][0] == before[changed[0]][0]


def test_the_users_folder_is_left_as_it_was(data: Path) -> None:
    before = contents(data)
    open_cache(read_source(str(data)), SPEC)
    assert contents(data) == before


def test_writing_to_the_pixels_does_not_reach_the_file(data: Path) -> None:
    manifest = read_source(str(data))
    open_cache(manifest, SPEC).pixels[:] = 0
    assert_right(open_cache(manifest, SPEC), manifest)


def test_a_moved_data_set_finds_its_cache_and_a_changed_file_does_not(data: Path, tmp_path: Path) -> None:
    first = open_cache(read_source(str(data)), SPEC)
    shutil.copytree(data, tmp_path / "moved")  # copies times too
    moved = read_source(str(tmp_path / "moved"))
    assert open_cache(moved, SPEC).path == first.path
    Image.new("RGB", (5, 5)).save(tmp_path / "moved/a/07.png")
    changed = open_cache(moved, SPEC)
    assert changed.path != first.path
    assert changed.pixels[moved.ids.to_pylist().index("a/07.png")].max() == 0


def test_folders_that_agree_in_names_sizes_and_times_have_caches_of_their_own(tmp_path: Path) -> None:
    """Such as photos and masks unpacked from archives, of uncompressed images."""
    found = []
    for k, folder in enumerate(("photos", "masks")):
        (tmp_path / folder).mkdir()
        for name in ("1.bmp", "2.bmp"):
            Image.new("RGB", (8, 8), (k, k, k)).save(tmp_path / folder / name)
            os.utime(tmp_path / folder / name, ns=(10**18, 10**18))
        uris = [str(tmp_path / folder / name) for name in ("1.bmp", "2.bmp")]
        found.append(open_cache(manifest_from_columns(["1", "2"], uris, ["a", "b"]), SPEC).pixels)
    assert [int(pixels.max()) for pixels in found] == [0, 1]


def test_the_key_follows_pixels_only(data: Path) -> None:
    manifest = read_source(str(data))
    path = open_cache(manifest, SPEC).path
    other_targets = dataclasses.replace(manifest, targets=1 - manifest.targets, splits=manifest.splits + 1)
    assert open_cache(other_targets, SPEC).path == path
    assert open_cache(manifest, dataclasses.replace(SPEC, mean=(0.5, 0.5, 0.5))).path == path
    others = [
        open_cache(manifest, dataclasses.replace(SPEC, height=11)).path,
        open_cache(manifest, dataclasses.replace(SPEC, resize="pad")).path,
        open_cache(manifest, dataclasses.replace(SPEC, interpolation="nearest")).path,
        open_cache(manifest.take(np.arange(1, 30)), SPEC).path,
        open_cache(manifest.take(np.arange(30)[::-1].copy()), SPEC).path,
    ]
    assert len({path, *others}) == 6


def test_a_file_that_vanished_is_unreadable_and_comes_back(data: Path) -> None:
    manifest = read_source(str(data))
    content, times = (data / "b/29.png").read_bytes(), (data / "b/29.png").stat().st_mtime_ns
    (data / "b/29.png").unlink()
    gone = open_cache(manifest, SPEC)
    assert gone.problems[29] == "the file is missing" and not gone.readable[29]
    (data / "b/29.png").write_bytes(content)
    os.utime(data / "b/29.png", ns=(times, times))
    assert_right(open_cache(manifest, SPEC), manifest)


def test_what_the_system_refused_for_a_while_is_tried_again(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = read_source(str(data))

    def refuse(uri: str) -> np.ndarray:
        if uri.endswith("10.png"):
            raise UnreadableImageError(f"{uri}: no permission") from PermissionError(errno.EACCES, "Permission denied")
        return read_image(uri)

    with monkeypatch.context() as patched:
        patched.setattr(build, "read_image", refuse)
        refused = open_cache(manifest, SPEC)
        assert refused.problems[10] == "no permission"
        problems_file = contents(refused.path)["problems.jsonl"]
        assert open_cache(manifest, SPEC).problems[10] == "no permission"
        assert contents(refused.path)["problems.jsonl"] == problems_file  # the same trouble is not written twice
    again = open_cache(manifest, SPEC)
    assert again.path == refused.path
    assert_right(again, manifest)


KILLS = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tests.data.cache.test_images import SPEC, Watching, build, open_cache, read_source
build._CHUNK_ROWS = 8
manifest, to_disk, calls = read_source(sys.argv[2]), build._to_disk, 0
build.read_image(manifest.uris[0].as_py())  # imports Pillow's plugins before the children do

def kill():
    os.kill(os.getpid(), signal.SIGKILL)

def deadly(file):
    global calls
    calls += 1
    if calls == moment:
        kill()
    to_disk(file)

for moment in range(1, 14):
    child = os.fork()
    if child == 0:
        progress = Watching(19, kill) if moment == 13 else Watching()
        build._to_disk = deadly
        open_cache(manifest, SPEC, folder=Path(sys.argv[3]) / str(moment), threads=2, progress=progress)
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL, moment
"""


def test_a_build_killed_at_any_moment_is_resumed_to_the_same_bytes(data: Path, tmp_path: Path) -> None:
    """Each of the four chunks sends pixels, problems and marks to the disk: SIGKILL before each of these twelve, and
    once while pixels are written. No row may be marked whose pixels are missing, and the rest is done again."""
    manifest = read_source(str(data))
    fresh = open_cache(manifest, SPEC)
    arguments = [str(Path(__file__).parents[3]), str(data), str(tmp_path / "killed")]
    ended = subprocess.run([sys.executable, "-c", KILLS, *arguments], capture_output=True, check=False)
    assert ended.returncode == 0, ended.stderr.decode()
    left = []
    for moment in range(1, 14):
        path = tmp_path / "killed" / str(moment) / fresh.path.name
        state, pixels = np.fromfile(path / "state.u8", np.uint8), np.fromfile(path / "pixels.u8", np.uint8)
        good = state == build.GOOD
        assert np.array_equal(pixels.reshape(fresh.pixels.shape)[good], fresh.pixels[good]), moment
        progress = Watching()
        resumed = open_cache(manifest, SPEC, folder=path.parent, progress=progress)
        left.append(progress.total)
        for name in ("pixels.u8", "state.u8"):
            assert (resumed.path / name).read_bytes() == (fresh.path / name).read_bytes(), (moment, name)
        assert_right(resumed, manifest)
    assert left == [30] * 3 + [22] * 3 + [14] * 3 + [6] * 3 + [14]


def test_a_problem_line_torn_by_a_kill_harms_no_other(data: Path) -> None:
    manifest = read_source(str(data))
    path = open_cache(manifest, SPEC).path
    state = np.fromfile(path / "state.u8", np.uint8)
    state[16:] = build.NOT_YET
    state.tofile(path / "state.u8")
    lines = (path / "problems.jsonl").read_text()
    (path / "problems.jsonl").write_text(lines[: lines.index("[20") + 9])
    assert_right(open_cache(manifest, SPEC), manifest)


@pytest.mark.parametrize("name", ["pixels.u8", "state.u8", "info.json"])
def test_a_cache_with_a_damaged_file_is_built_anew(data: Path, name: str) -> None:
    manifest = read_source(str(data))
    path = open_cache(manifest, SPEC).path
    with (path / name).open("r+b") as file:
        file.truncate(7)
    if name == "info.json":
        (path / name).unlink()
    progress = Watching()
    assert_right(open_cache(manifest, SPEC, progress=progress), manifest)
    assert progress.total == 30


def test_two_builders_of_one_cache_take_turns(data: Path) -> None:
    manifest = read_source(str(data))
    waiting, results = Watching(), []
    other = threading.Thread(target=lambda: results.append(open_cache(manifest, SPEC, progress=waiting)))

    def start_the_other_and_let_it_wait() -> None:
        if not other.is_alive():
            other.start()
            while not waiting.said:
                other.join(0.01)
            first.action = None

    first = Watching(1, start_the_other_and_let_it_wait)
    results.append(open_cache(manifest, SPEC, progress=first))
    other.join()
    assert first.count == 30 and waiting.count == 0
    assert "waiting for it" in waiting.said[0]
    for cached in results:
        assert_right(cached, manifest)


@pytest.fixture
def scenes(tmp_path: Path) -> Manifest:
    """60 boxes in five scenes, in no order: TIFFs of several kinds, a JPEG, one truncated and one that is missing."""
    rng = np.random.default_rng(3)
    paths = [tmp_path / name for name in ("raw.tif", "deflated.tif", "lzw.tif", "photo.jpg", "cut.tif", "gone.tif")]
    picture = Image.fromarray(rng.integers(0, 256, (90, 70, 3), dtype=np.uint8))
    for path, compression in zip(paths[:3], (None, "tiff_adobe_deflate", "tiff_lzw"), strict=True):
        picture.save(path, compression=compression)
    picture.save(paths[3])
    paths[4].write_bytes(paths[0].read_bytes()[:9000])
    scene = rng.integers(0, len(paths), 60)
    corner = rng.integers(-5, 60, (60, 2))
    boxes = np.concatenate([corner, corner + rng.integers(6, 30, (60, 2))], axis=1).astype(np.int32)
    boxes[7] = 200, 200, 210, 210
    scene[7] = 0
    ids = pa.array([str(row) for row in range(60)], pa.large_string())
    uris = pa.array([str(paths[k]) for k in scene], pa.large_string())
    return Manifest(ids, uris, np.zeros(60, np.int64), np.zeros(60, np.int8), ("thing",), boxes=boxes, groups=scene)


def assert_boxes_right(cached: CachedImages, manifest: Manifest) -> None:
    """Every row holds what reading its box anew gives, and every problem is the one that gives."""
    assert manifest.boxes is not None
    for row, (uri, box) in enumerate(zip(manifest.uris.to_pylist(), manifest.boxes.tolist(), strict=True)):
        try:
            expected = SPEC.fit(read_image(uri, box))
        except UnreadableImageError as error:
            assert cached.problems[row] == str(error).removeprefix(f"{uri}: ")
        else:
            assert cached.readable[row] and np.array_equal(cached.pixels[row], expected), row
    assert np.flatnonzero(~cached.readable).tolist() == sorted(cached.problems)


@pytest.mark.parametrize("threads", [1, 4])
def test_objects_of_one_scene_are_cut_from_one_decoding(
    scenes: Manifest, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    """Also where a scene has more objects than a chunk, here eight."""
    decoded: list[str] = []

    def counting(uri: str, boxes: np.ndarray) -> np.ndarray:
        decoded.append(uri)
        return read_scene(uri, boxes)

    monkeypatch.setattr(tasks, "read_scene", counting)
    progress = Watching()
    cached = open_cache(scenes, SPEC, threads=threads, progress=progress)
    assert len(decoded) == len(set(decoded)) == 6
    assert_boxes_right(cached, scenes)
    assert progress.count == progress.total == 60
    problems = set(cached.problems.values())
    assert problems == {
        "the box 200, 200, 210, 210 is outside the 70x90 image",
        "the file is missing",
        "the file is truncated",
    }
    assert scenes.boxes is not None
    assert open_cache(dataclasses.replace(scenes, boxes=scenes.boxes + 1), SPEC).path != cached.path


def test_scenes_are_let_go_when_their_objects_are_done(scenes: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    alive: list[weakref.ref[np.ndarray]] = []
    most = 0

    def counting(uri: str, boxes: np.ndarray) -> np.ndarray:
        nonlocal most
        pixels = np.array(read_scene(uri, boxes))
        alive.append(weakref.ref(pixels))
        most = max(most, sum(reference() is not None for reference in alive))
        return pixels

    monkeypatch.setattr(tasks, "read_scene", counting)
    assert_boxes_right(open_cache(scenes, SPEC, threads=1), scenes)
    assert len(alive) == 4 and most <= 2


def test_a_build_of_scenes_that_was_cut_off_goes_on_to_the_same_bytes(scenes: Manifest, tmp_path: Path) -> None:
    fresh = open_cache(scenes, SPEC, folder=tmp_path / "fresh")

    def stop() -> None:
        raise KeyboardInterrupt

    for at in (1, 20, 45, 59):
        with pytest.raises(KeyboardInterrupt):
            open_cache(scenes, SPEC, folder=tmp_path / str(at), threads=2, progress=Watching(at, stop))
        progress = Watching()
        resumed = open_cache(scenes, SPEC, folder=tmp_path / str(at), progress=progress)
        assert_boxes_right(resumed, scenes)
        assert progress.total <= 60 - max(0, at - 30)
        for name in ("pixels.u8", "state.u8"):
            assert (resumed.path / name).read_bytes() == (fresh.path / name).read_bytes(), (at, name)


def test_builtin_digits_are_cached_like_files() -> None:
    manifest = read_source("digits").take(np.arange(100))
    cached = open_cache(manifest, ImageSpec(8, 8))
    assert cached.readable.all() and cached.problems == {}
    assert np.array_equal(cached.pixels[42], read_image("builtin://digits/42"))


def no_space(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_disk_too_full_for_the_cache_is_said_before_any_work(
    data: Path, caches: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "posix_fallocate", no_space, raising=False)
    progress = Watching()
    with pytest.raises(OutputError, match=r"disk is full: .* needs 10\.8 kB, .* are free"):
        open_cache(read_source(str(data)), SPEC, progress=progress)
    assert progress.count == 0
    assert [path for path in caches.iterdir() if path.is_dir()] == []


def test_a_disk_that_fills_up_in_the_middle_keeps_what_was_done(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = read_source(str(data))
    write, calls = build._write_pixels, 0

    def filling(*arguments: Any) -> None:
        nonlocal calls
        calls += 1
        if calls > 5:
            no_space()
        write(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(build, "_write_pixels", filling)
        with pytest.raises(OutputError, match="disk is full"):
            open_cache(manifest, SPEC, threads=2)  # eight rows in four writes
    progress = Watching()
    assert_right(open_cache(manifest, SPEC, progress=progress), manifest)
    assert progress.total == 22  # one chunk of eight was whole


def test_a_cache_folder_that_cannot_be_made_is_an_output_error(data: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="LINNAEUS_CACHE"):
        open_cache(read_source(str(data)), SPEC, folder=tmp_path / "file" / "below")


def test_caches_are_listed_last_used_first(data: Path) -> None:
    manifest = read_source(str(data))
    small, large = open_cache(manifest, SPEC).path, open_cache(manifest, ImageSpec(20, 30)).path
    os.utime(large / "info.json", (1_000_000_000, 1_000_000_000))
    entries = list_caches()
    assert [entry.path for entry in entries] == [small, large]
    assert (entries[1].kind, entries[1].holds) == ("images", "30 images of 30 x 20 px")
    assert entries[1].num_bytes >= 30 * 20 * 30 * 3 and entries[1].last_used.year == 2001
    assert entries[0].last_used.utcoffset() is not None
    assert list_caches(data) == []


def test_clearing_deletes_caches_and_nothing_else(data: Path, caches: Path) -> None:
    manifest = read_source(str(data))
    cached = open_cache(manifest, SPEC)
    (caches / "images-of-my-own").mkdir()
    (caches / "notes.txt").write_text("mine")
    freed = clear_caches()
    assert freed >= cached.pixels.nbytes
    assert sorted(path.name for path in caches.iterdir()) == ["images-of-my-own", "notes.txt"]
    assert cached.pixels[0].max() > 0  # a reader keeps what it has mapped
    assert clear_caches() == 0
    assert_right(open_cache(manifest, SPEC), manifest)


def test_clearing_passes_over_a_cache_that_is_being_built(data: Path) -> None:
    manifest = read_source(str(data))
    freed = []
    builder = Watching(1, lambda: freed.append(clear_caches()))
    assert_right(open_cache(manifest, SPEC, progress=builder), manifest)
    assert set(freed) == {0}


def test_the_cache_folder_is_the_users_or_the_one_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_folder() == tmp_path / "caches"
    monkeypatch.delenv("LINNAEUS_CACHE")
    assert cache_folder().name == "linnaeus" and cache_folder().parent != tmp_path


def test_info_tells_what_the_files_are(data: Path) -> None:
    info = json.loads((open_cache(read_source(str(data)), SPEC).path / "info.json").read_text())
    assert {name: info[name] for name in ("num_images", "height", "width", "resize")} == {
        "num_images": 30,
        "height": 12,
        "width": 10,
        "resize": "squash",
    }
