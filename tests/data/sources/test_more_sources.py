"""CIFAR, IDX, label lists, saved data sets and names in the network."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import struct
import sys
import tarfile
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from linnaeus.data.images.arrays import file_of
from linnaeus.data.images.decode import read_image
from linnaeus.data.manifest import TEST, TRAIN, UNASSIGNED, Manifest, manifest_from_columns
from linnaeus.data.sources import read_source, read_test_source, recognise
from linnaeus.data.sources.cifar import read_cifar
from linnaeus.data.sources.options import SourceOptions
from linnaeus.data.sources.plain_pickle import read_plain_pickle
from linnaeus.errors import ClassesError, DataError, DataNotFoundError, LinnaeusError

PLANES = np.random.default_rng(0).integers(0, 256, (6, 3, 32, 32), dtype=np.uint8)
"""uint8 [6, 3, 32, 32]: four training images and two test images."""
SEEN = PLANES.transpose(0, 2, 3, 1)
NAMES = ["airplane", "bird", "cat"]
LABELS = [0, 1, 2, 1, 0, 2]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("LINNAEUS_CACHE", str(folder))
    return folder


def pixels(manifest: Manifest) -> np.ndarray:
    return np.stack([read_image(uri) for uri in manifest.uris.to_pylist()])


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def short(text: str) -> bytes:
    return b"U" + bytes([len(text)]) + text.encode()


def python_2_batch(images: np.ndarray, labels: list[int]) -> bytes:
    """The bytes that Python 2 wrote, protocol 2, as in the archives of CIFAR."""
    content = images.tobytes()
    return (
        b"\x80\x02}q\x01(" + short("batch_label") + b"q\x02" + short("training batch 1 of 5") + b"q\x03"
        + short("labels") + b"q\x04]q\x05(" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
        + short("data") + b"q\x06cnumpy.core.multiarray\n_reconstruct\nq\x07cnumpy\nndarray\nq\x08K\x00\x85"
        + short("b") + b"\x87Rq\x09(K\x01M" + struct.pack("<H", len(images)) + b"M\x00\x0c\x86cnumpy\ndtype\nq\x0a"
        + short("u1") + b"K\x00K\x01\x87Rq\x0b(K\x03" + short("|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
        + b"T" + struct.pack("<i", len(content)) + content + b"tb"
        + short("filenames") + b"q\x0c]q\x0d(" + b"".join(short(f"{k}.png") for k in labels) + b"eu."
    )  # fmt: skip


def cifar_10(root: Path) -> Path:
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    (folder / "data_batch_1").write_bytes(python_2_batch(PLANES[:2], LABELS[:2]))
    later = {b"labels": LABELS[2:4], b"data": PLANES[2:4].reshape(2, -1)}
    (folder / "data_batch_2").write_bytes(pickle.dumps(later, protocol=4))
    (folder / "test_batch").write_bytes(python_2_batch(PLANES[4:], LABELS[4:]))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": NAMES, "num_vis": 3072}, protocol=2))
    (folder / "readme.html").write_text("x")
    return folder


def packed(folder: Path, archive: Path) -> Path:
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, folder.name)
    return archive


def assert_cifar_10(manifest: Manifest) -> None:
    assert np.array_equal(pixels(manifest), SEEN)
    assert manifest.classes == tuple(NAMES)
    assert manifest.targets.tolist() == LABELS
    assert manifest.splits.tolist() == [TRAIN] * 4 + [TEST] * 2


def test_cifar_10_in_python_is_read_from_its_folder_or_the_one_around_it(tmp_path: Path, cache: Path) -> None:
    folder = cifar_10(tmp_path / "d")
    before = contents(tmp_path / "d")
    for path in (folder, tmp_path / "d"):
        assert recognise(path) == "cifar"
        assert_cifar_10(read_source(str(path)))
    assert contents(tmp_path / "d") == before
    assert not cache.exists()


def test_cifar_10_is_read_from_the_archive_and_nothing_is_written_beside_it(tmp_path: Path, cache: Path) -> None:
    archive = packed(cifar_10(tmp_path / "made"), tmp_path / "my.tar.gz")
    (tmp_path / "d").mkdir()
    archive = archive.rename(tmp_path / "d" / "my.tar.gz")
    before = contents(tmp_path / "d")
    assert recognise(archive) == "cifar"
    manifest = read_source(str(archive))
    assert_cifar_10(manifest)
    assert file_of(manifest.uris[0].as_py()) == str(archive)
    assert contents(tmp_path / "d") == before
    extracted = list(cache.rglob("*.bin"))
    assert len(extracted) == 4
    for file in extracted:
        file.unlink()  # somebody cleared the cache: it is extracted again
    from linnaeus.data.images import arrays

    arrays._open.cache_clear()
    assert np.array_equal(pixels(manifest), SEEN)


def test_cifar_10_in_binary(tmp_path: Path) -> None:
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    rows = [bytes([label]) + image.tobytes() for label, image in zip(LABELS, PLANES, strict=True)]
    (folder / "data_batch_1.bin").write_bytes(b"".join(rows[:4]))
    (folder / "test_batch.bin").write_bytes(b"".join(rows[4:]))
    (folder / "batches.meta.txt").write_text("\n".join(NAMES) + "\n\n")
    assert_cifar_10(read_source(str(folder)))
    (folder / "test_batch.bin").write_bytes(b"".join(rows[4:])[:-1])
    with pytest.raises(DataError, match=r"test_batch\.bin is damaged"):
        read_source(str(folder))


@pytest.mark.parametrize("binary", [False, True])
def test_cifar_100_comes_with_fine_or_coarse_labels(tmp_path: Path, binary: bool) -> None:
    folder = tmp_path / "c"
    folder.mkdir()
    coarse = [0, 1, 0, 1, 1, 0]
    for name, part in (("train", slice(0, 4)), ("test", slice(4, 6))):
        if binary:
            rows = zip(coarse[part], LABELS[part], PLANES[part], strict=True)
            (folder / f"{name}.bin").write_bytes(b"".join(bytes([c, f]) + image.tobytes() for c, f, image in rows))
        else:
            content = {
                "fine_labels": LABELS[part],
                "coarse_labels": coarse[part],
                "data": PLANES[part].reshape(-1, 3072),
            }
            (folder / name).write_bytes(pickle.dumps(content, protocol=3))
    if binary:
        (folder / "fine_label_names.txt").write_text("\n".join(NAMES))
        (folder / "coarse_label_names.txt").write_text("thing\nanimal")
    else:
        meta = {"fine_label_names": NAMES, "coarse_label_names": ["thing", "animal"]}
        (folder / "meta").write_bytes(pickle.dumps(meta, protocol=3))
    assert_cifar_10(read_source(str(folder)))
    found = read_source(str(folder), options=SourceOptions(label_columns=("coarse_labels",)))
    assert found.classes == ("thing", "animal")
    assert found.targets.tolist() == coarse


class _Hostile:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_hostile_pickle_is_refused_and_never_run(tmp_path: Path, protocol: int) -> None:
    folder, proof = cifar_10(tmp_path / "d"), tmp_path / "proof"
    batch = pickle.dumps({"labels": LABELS, "data": _Hostile(proof)}, protocol=protocol)
    (folder / "data_batch_1").write_bytes(batch)
    with pytest.raises(DataError, match=r"data_batch_1 is refused: it asks for (posix|nt)\.system"):
        read_cifar(folder)
    assert not proof.exists()
    pickle.loads(batch)
    assert proof.exists()  # this file would have


@pytest.mark.parametrize(
    "code",
    [
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"(S'touch x'\niposix\nsystem\n.",
        b"(cposix\nsystem\nS'touch x'\no.",
        b"\x80\x02cnumpy\nndarray\n)\x81.",
        b"\x80\x02cnumpy\nndarray\n)R.",
        b"\x80\x02cnumpy\nload\n.",
        b"\x80\x04\x8c\x02os\x8c\x06system\x93.",
        b"\x80\x02P7\n.",
        b"\x80\x02\x82\x01.",
    ],
)
def test_every_way_to_call_is_refused(tmp_path: Path, code: bytes) -> None:
    path = tmp_path / "p"
    path.write_bytes(code)
    with pytest.raises(DataError, match="p is refused: it asks for"):
        read_plain_pickle(path, str(path))


def test_a_member_that_would_leave_the_folder_is_nowhere_written(tmp_path: Path, cache: Path) -> None:
    folder = cifar_10(tmp_path / "made")
    archive = tmp_path / "d" / "c.tar.gz"
    archive.parent.mkdir()
    with tarfile.open(archive, "w:gz") as tar:
        for name in ("data_batch_1", "batches.meta"):
            tar.add(folder / name, f"cifar-10-batches-py/{name}")
        for name in ("../../test_batch", f"{tmp_path}/outside/test_batch", "cifar-10-batches-py/evil"):
            entry = tarfile.TarInfo(name)
            entry.size = 5
            tar.addfile(entry, io.BytesIO(b"hello"))
        link = tarfile.TarInfo("cifar-10-batches-py/data_batch_2")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    with pytest.raises(DataError, match="test_batch"):
        read_source(str(archive))
    names = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert {name for name in names if not name.startswith(("made/", "cache/extracted-"))} == {"d/c.tar.gz"}
    assert not (tmp_path.parent / "test_batch").exists()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 10**6), put=st.binary(min_size=1, max_size=4), cut=st.integers(0, 8), head=st.booleans())
@pytest.mark.parametrize("kind", ["python", "meta", "archive", "idx", "idx.gz", "saved", "list"])
def test_no_mutated_file_crashes_its_reader(
    tmp_path_factory: pytest.TempPathFactory, kind: str, place: int, put: bytes, cut: int, head: bool
) -> None:
    root = tmp_path_factory.mktemp("m")
    read, path = root, root / "x"
    if kind in ("python", "meta", "archive"):
        folder = cifar_10(root)
        path = folder / ("batches.meta" if kind == "meta" else "data_batch_1")
        read = folder
        if kind == "archive":
            read = path = packed(folder, root / "c.tar.gz")
    elif kind.startswith("idx"):
        mnist(root, zipped=kind.endswith("gz"))
        path = root / f"train-images-idx3-ubyte{'.gz' if kind.endswith('gz') else ''}"
    elif kind == "saved":
        read = path = root / "s.parquet"
        manifest_from_columns(["a", "b"], ["/a", "/b"], ["x", "y"]).save(path)
    else:
        flickr(root)
        path = root / "labels" / "sea.txt"
    content = path.read_bytes()
    place %= min(len(content), 200) if head else len(content)
    path.write_bytes(content[:place] + put + content[place + cut :])
    format = {"python": "cifar", "meta": "cifar", "archive": "cifar", "list": "label_lists"}.get(kind, kind[:3])
    try:
        manifest = read_source(str(read), format="saved" if kind == "saved" else format)
        assert len(manifest) < 100
        if kind not in ("saved", "list"):
            pixels(manifest)
    except LinnaeusError as error:
        assert str(root) in str(error)


def idx(values: np.ndarray, code: int = 8) -> bytes:
    return bytes([0, 0, code, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


def mnist(root: Path, *, zipped: bool = False) -> Path:
    grey = PLANES[:, 0, :28, :20]
    for name, part in (("train", slice(0, 4)), ("t10k", slice(4, 6))):
        files = {"images-idx3": idx(grey[part]), "labels-idx1": idx(np.array(LABELS[part], np.uint8))}
        for kind, content in files.items():
            path = root / f"{name}-{kind}-ubyte{'.gz' if zipped else ''}"
            path.write_bytes(gzip.compress(content, mtime=0) if zipped else content)
    return root


@pytest.mark.parametrize("zipped", [False, True])
def test_idx_is_read_plain_or_gzipped(tmp_path: Path, cache: Path, zipped: bool) -> None:
    (tmp_path / "d").mkdir()
    data = mnist(tmp_path / "d", zipped=zipped)
    before = contents(data)
    assert recognise(data) == "idx"
    manifest = read_source(str(data))
    assert np.array_equal(pixels(manifest)[..., 1], PLANES[:, 0, :28, :20])
    assert manifest.classes == ("0", "1", "2")
    assert manifest.targets.tolist() == LABELS
    assert manifest.splits.tolist() == [TRAIN] * 4 + [TEST] * 2
    assert contents(data) == before
    assert cache.exists() == zipped
    one = read_source(str(next(data.glob("train-images*"))))
    assert len(one) == 4


def test_idx_with_a_truncated_or_foreign_file_names_it(tmp_path: Path) -> None:
    data = mnist(tmp_path)
    path = data / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match="train-images-idx3-ubyte: the file is truncated"):
        read_source(str(data))
    path.write_bytes(b"\x89PNG\r\n")
    with pytest.raises(DataError, match="train-images-idx3-ubyte is no file of IDX: it begins with 89 50 4e 47"):
        read_source(str(data))


def flickr(root: Path) -> Path:
    (root / "pictures").mkdir()
    for number in (1, 2, 3, 10):
        (root / "pictures" / f"im{number}.jpg").write_bytes(b"\xff\xd8\xff")
    (root / "labels").mkdir()
    (root / "labels" / "sea.txt").write_text("1\n10\n99\n")
    (root / "labels" / "sky and sun.txt").write_text("im10.jpg\npictures/im3.jpg\n")
    (root / "labels" / "people.txt").write_text("3 1\n")
    (root / "README.txt").write_text("about these photos")
    return root


def test_label_lists_give_several_labels_and_keep_images_without(tmp_path: Path) -> None:
    data = flickr(tmp_path)
    assert recognise(data) == "label_lists"
    manifest = read_source(str(data))
    assert manifest.task == "multi"
    assert manifest.classes == ("people", "sea", "sky and sun")
    rows = dict(zip(manifest.ids.to_pylist(), manifest.targets.tolist(), strict=True))
    assert rows == {
        "pictures/im1.jpg": [1, 1, 0],
        "pictures/im10.jpg": [0, 1, 1],
        "pictures/im2.jpg": [0, 0, 0],
        "pictures/im3.jpg": [1, 0, 1],
    }
    assert manifest.skipped == {"entries without an image": 1}
    assert "entries without an image: 1, such as line 3 of sea.txt ('99')" in manifest.notes
    assert "3 labels from text files; 1 images have none" in manifest.notes


def test_lists_in_a_folder_labels_beside_images_are_not_taken_for_yolo(tmp_path: Path) -> None:
    (flickr(tmp_path) / "pictures").rename(tmp_path / "images")
    assert recognise(tmp_path) == "label_lists"
    assert set(read_source(str(tmp_path)).classes) == {"people", "sea", "sky and sun"}


def test_lists_called_like_splits_divide_the_images(tmp_path: Path) -> None:
    data = flickr(tmp_path)
    (data / "train.txt").write_text("1\n2\n")
    (data / "test.txt").write_text("im10.jpg\n")
    manifest = read_source(str(data))
    assert manifest.splits.tolist() == [TRAIN, TEST, TRAIN, UNASSIGNED]
    assert manifest.num_classes == 3


def test_some_labels_can_be_chosen(tmp_path: Path) -> None:
    manifest = read_source(str(flickr(tmp_path)), options=SourceOptions(classes=("sea", "people")))
    assert manifest.classes == ("sea", "people")
    assert manifest.targets.tolist() == [[1, 1], [1, 0], [0, 0], [0, 1]]
    with pytest.raises(ClassesError, match=r"no class 'see'\. Did you mean 'sea'"):
        read_source(str(tmp_path), options=SourceOptions(classes=("see",)))


def test_the_most_frequent_classes_can_be_chosen_and_the_rest_is_counted() -> None:
    manifest = read_source("digits", options=SourceOptions(top_classes=3))
    counts = read_source("digits").class_counts()
    assert manifest.num_classes == 3
    assert sorted(manifest.class_counts().tolist()) == sorted(counts.tolist())[-3:]
    assert manifest.skipped == {"of classes not asked for": 1797 - len(manifest)}


def test_a_saved_data_set_is_the_one_that_was_read(tmp_path: Path) -> None:
    data = flickr(tmp_path)
    before = read_source(str(data))
    path = tmp_path / "kept.parquet"
    before.save(path)
    assert recognise(path) == "saved"
    after = read_source(str(path))
    assert after.fingerprint == before.fingerprint
    assert after.uris.equals(before.uris)
    assert after.notes == before.notes
    moved = read_source(str(path), options=SourceOptions(image_root=tmp_path / "elsewhere"))
    assert moved.uris[0].as_py() == str((tmp_path / "elsewhere").resolve() / "pictures" / "im1.jpg")


def test_a_test_set_may_come_in_any_form(tmp_path: Path) -> None:
    cifar_10(tmp_path)
    manifest = read_test_source(str(tmp_path), ("cat", "bird", "airplane"))
    assert manifest.ids.to_pylist() == ["test/test_batch/0", "test/test_batch/1"]
    assert [manifest.classes[k] for k in manifest.targets] == ["airplane", "cat"]
    assert manifest.splits.tolist() == [TEST, TEST]


def test_a_name_in_the_network_without_its_package_says_what_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataNotFoundError, match="hf:mnist needs the package 'datasets': pip install datasets"):
        read_source("hf:mnist")


def test_a_name_in_the_network_without_a_network_says_so(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    def load_dataset(name: str) -> object:
        raise ConnectionError("no route")

    monkeypatch.setitem(sys.modules, "datasets", types.SimpleNamespace(load_dataset=load_dataset))
    with pytest.raises(DataNotFoundError, match=r"hf:a/b could not be downloaded \(ConnectionError: no route\)"):
        read_source("hf:a/b")
    assert not cache.exists() or list(cache.iterdir()) == []


def test_a_torchvision_set_is_downloaded_once_and_read_as_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    class Toys:
        classes = ("a/c", "bus")

        def __init__(self, root: str, *, train: bool, download: bool) -> None:
            calls.append((train, download))

        def __iter__(self) -> object:
            return iter([(Image.new("RGB", (2, 2), (9, 8, 7)), 0), (Image.new("RGB", (2, 2)), 1)])

    module = types.ModuleType("torchvision.datasets")
    module.__all__ = ["Toys"]  # type: ignore[attr-defined]
    module.Toys = Toys  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torchvision.datasets", module)
    for _ in range(2):
        manifest = read_source("torchvision:Toys")
    assert calls == [(True, True), (False, True)]
    assert manifest.classes == ("a_c", "bus")
    assert manifest.splits.tolist() == [TEST, TEST, TRAIN, TRAIN]
    assert read_image(manifest.uris[0].as_py())[0, 0].tolist() == [9, 8, 7]
    with pytest.raises(DataNotFoundError, match=r"no data set 'Toy'\. Did you mean 'Toys'"):
        read_source("torchvision:Toy")
