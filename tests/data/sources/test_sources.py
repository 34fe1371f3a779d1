"""Sources: labelled folders and built-in names become manifests; everything passed over is counted."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from linnaeus.data.images.formats import looks_like_image
from linnaeus.data.manifest import TEST, TRAIN, UNASSIGNED, VALIDATION, Manifest
from linnaeus.data.sources import read_source, read_test_source
from linnaeus.data.sources.folder import read_folder, walk_images
from linnaeus.errors import ClassesError, DataError, DataNotFoundError, NoImagesError


def fill(root: Path, *names: str) -> Path:
    """Make files of these names below root; what they hold does not matter, no source decodes."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\xff\xd8\xff pretending")
    return root


def labels(manifest: Manifest) -> dict[str, str]:
    return {id: manifest.classes[k] for id, k in zip(manifest.ids.to_pylist(), manifest.targets, strict=True)}


def test_class_folders_give_sorted_rows_with_paths_as_ids(tmp_path: Path) -> None:
    fill(tmp_path, "dog/b.jpg", "dog/a.PNG", "cat/z.webp", "cat/deep/er/y.jpeg")
    manifest = read_folder(tmp_path)
    assert manifest.ids.to_pylist() == ["cat/z.webp", "cat/deep/er/y.jpeg", "dog/a.PNG", "dog/b.jpg"]
    assert manifest.uris.to_pylist() == [str(tmp_path.resolve() / id) for id in manifest.ids.to_pylist()]
    assert manifest.classes == ("cat", "dog")
    assert manifest.targets.tolist() == [0, 0, 1, 1]
    assert manifest.splits.tolist() == [UNASSIGNED] * 4
    assert manifest.skipped == {}


def test_two_readings_are_equal(tmp_path: Path) -> None:
    fill(tmp_path, *(f"{name}/{k}.jpg" for name in "abc" for k in range(20)))
    assert read_folder(tmp_path).fingerprint == read_folder(tmp_path).fingerprint


@pytest.mark.parametrize("validation", ["val", "valid", "validation", "Validation"])
def test_split_folders_keep_their_splits(tmp_path: Path, validation: str) -> None:
    fill(tmp_path, "TRAIN/cat/1.jpg", "TRAIN/dog/2.jpg", f"{validation}/cat/3.jpg", "test/dog/sub/4.jpg")
    manifest = read_folder(tmp_path)
    splits = dict(zip(manifest.ids.to_pylist(), manifest.splits.tolist(), strict=True))
    assert splits == {
        "TRAIN/cat/1.jpg": TRAIN,
        "TRAIN/dog/2.jpg": TRAIN,
        f"{validation}/cat/3.jpg": VALIDATION,
        "test/dog/sub/4.jpg": TEST,
    }
    assert labels(manifest)["test/dog/sub/4.jpg"] == "dog"
    assert all(Path(uri).is_file() for uri in manifest.uris.to_pylist())


def test_clutter_and_other_files_are_counted_not_read(tmp_path: Path) -> None:
    fill(
        tmp_path,
        *(
            "a/1.jpg",
            "b/2.jpg",
            "a/.hidden.jpg",
            "a/._1.jpg",
            "a/Thumbs.db",
            "b/Desktop.ini",
            "b/notes.txt",
            "README.md",
        ),
        *("a/.ipynb_checkpoints/1.jpg", "__MACOSX/a/1.jpg", ".git/x.jpg", "b/labels.csv", "loose.jpg"),
    )
    manifest = read_folder(tmp_path)
    assert manifest.ids.to_pylist() == ["a/1.jpg", "b/2.jpg"]
    assert manifest.skipped == {"hidden": 7, "not an image": 3, "outside the class folders": 1}


def test_what_stands_beside_the_split_folders_is_counted(tmp_path: Path) -> None:
    fill(tmp_path, "train/a/1.jpg", "train/b/2.jpg", "test/a/3.jpg", "meta/x/9.jpg", "LICENSE.txt", "train/loose.txt")
    manifest = read_folder(tmp_path)
    assert len(manifest) == 3
    assert manifest.skipped == {"a folder beside the splits": 1, "not an image": 2}


def test_an_empty_class_folder_is_no_class(tmp_path: Path) -> None:
    fill(tmp_path, "a/1.jpg", "b/1.jpg", "docs/guide.pdf")
    (tmp_path / "nothing").mkdir()
    assert read_folder(tmp_path).classes == ("a", "b")


def test_spaces_and_other_scripts_survive(tmp_path: Path) -> None:
    fill(tmp_path, "grüne Äpfel/ein Bild.JPG", "梨/画像 1.Png")
    manifest = read_folder(tmp_path)
    assert labels(manifest) == {"grüne Äpfel/ein Bild.JPG": "grüne Äpfel", "梨/画像 1.Png": "梨"}
    assert all(Path(uri).is_file() for uri in manifest.uris.to_pylist())


def test_composed_and_decomposed_names_are_one_class(tmp_path: Path) -> None:
    composed, decomposed = unicodedata.normalize("NFC", "é"), unicodedata.normalize("NFD", "é")
    fill(tmp_path, f"train/{composed}/1.jpg", "train/b/1.jpg", f"test/{decomposed}/2.jpg")
    manifest = read_folder(tmp_path)
    assert manifest.classes == ("b", composed)
    assert Path(manifest.uris.to_pylist()[0]).is_file()


def test_a_name_that_is_not_utf8_is_counted(tmp_path: Path) -> None:
    fill(tmp_path, "a/1.jpg", "b/1.jpg")
    try:
        Path(os.fsdecode(os.fsencode(tmp_path / "a") + b"/\xff\xfe.jpg")).write_bytes(b"")
    except OSError:
        pytest.skip("this file system takes no such names")
    manifest = read_folder(tmp_path)
    assert len(manifest) == 2
    assert manifest.skipped == {"a name that is not UTF-8": 1}


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    elsewhere = fill(tmp_path / "elsewhere", "x/1.jpg", "2.jpg")
    data = fill(tmp_path / "data", "a/0.jpg")
    (data / "b").symlink_to(elsewhere)
    (data / "a" / "one.jpg").symlink_to(elsewhere / "2.jpg")
    (data / "a" / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    (data / "a" / "round").symlink_to(data / "a")
    manifest = read_folder(data)
    assert manifest.ids.to_pylist() == ["a/0.jpg", "a/one.jpg", "b/2.jpg", "b/x/1.jpg"]
    assert manifest.skipped == {"a broken link": 1, "a link to a folder around it": 1}


def test_a_linked_data_folder_is_read(tmp_path: Path) -> None:
    fill(tmp_path / "real", "a/1.jpg", "b/1.jpg")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert read_source(str(tmp_path / "link")).ids.to_pylist() == ["a/1.jpg", "b/1.jpg"]


def test_files_without_a_telling_extension_are_judged_by_their_first_bytes(tmp_path: Path) -> None:
    Image.new("RGB", (2, 2)).save(tmp_path / "webp", "WEBP")
    Image.new("RGB", (2, 2)).save(tmp_path / "a.0001", "PNG")
    (tmp_path / "noise").write_bytes(b"not an image at all")
    (tmp_path / "empty.jpg").write_bytes(b"")
    found = {name: looks_like_image(str(tmp_path / name)) for name in ("webp", "a.0001", "noise", "empty.jpg", "gone")}
    assert found == {"webp": True, "a.0001": True, "noise": False, "empty.jpg": True, "gone": False}


def test_a_class_may_be_called_train_or_test(tmp_path: Path) -> None:
    plain = fill(tmp_path / "plain", "train/1.jpg", "test/2.jpg", "car/3.jpg")
    assert read_folder(plain).classes == ("car", "test", "train")
    nested = fill(tmp_path / "nested", "train/2020/1.jpg", "bus/2020/2.jpg")
    assert read_folder(nested).classes == ("bus", "train")


def test_a_class_without_training_images_is_named(tmp_path: Path) -> None:
    fill(tmp_path, "train/a/1.jpg", "train/b/1.jpg", "test/a/2.jpg", "test/owl/3.jpg", "val/elk/3.jpg")
    with pytest.raises(ClassesError, match=r"no training images of 'elk' \(in validation\), 'owl' \(in test\)"):
        read_folder(tmp_path)


def test_one_class_is_not_enough(tmp_path: Path) -> None:
    with pytest.raises(ClassesError, match=r"one class only \('cat', 2 images\)"):
        read_folder(fill(tmp_path, "cat/1.jpg", "cat/2.jpg"))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), "is empty. Expected: one folder per class"),
        (("1.jpg", "2.jpg"), "holds 2 images but no class folders"),
        (("train/1.jpg", "test/2.jpg", "3.jpg"), None),
        (("a/readme.txt", ".hidden/1.jpg"), "no images in .*: 1 folders, and of files 1 hidden, 1 not an image"),
        (("val/a/1.jpg", "test/b/1.jpg"), "has test/ and val/ but no train/ folder"),
    ],
)
def test_a_folder_without_labelled_images_says_what_it_holds(
    tmp_path: Path, names: tuple[str, ...], message: str | None
) -> None:
    fill(tmp_path, *names)
    if message is None:  # folders of images called train and test: two classes
        assert read_folder(tmp_path).num_classes == 2
        return
    with pytest.raises(NoImagesError, match=message) as caught:
        read_folder(tmp_path)
    assert "train/, val/ and test/" in str(caught.value)


def test_a_file_in_place_of_a_folder_is_explained(tmp_path: Path) -> None:
    fill(tmp_path, "data.zip", "cat.jpg")
    with pytest.raises(DataNotFoundError, match="Unpack it"):
        read_source(str(tmp_path / "data.zip"))
    with pytest.raises(DataNotFoundError, match="is a file, not a folder"):
        read_source(str(tmp_path / "cat.jpg"))


def test_a_folder_that_cannot_be_read_is_an_error_not_a_gap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, "a/1.jpg", "b/1.jpg")
    scandir = os.scandir

    def refuse(folder: str) -> object:
        if folder.endswith("/b"):
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match=r"/b: Permission denied"):
        read_folder(tmp_path)


def test_a_builtin_name_wins_unless_written_as_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(fill(tmp_path, "digits/a/1.jpg", "digits/b/1.jpg").resolve())
    assert len(read_source("digits")) == 1797
    assert read_source("./digits").ids.to_pylist() == ["a/1.jpg", "b/1.jpg"]


def test_digits_are_ten_classes_in_the_order_of_scikit_learn() -> None:
    from sklearn.datasets import load_digits

    manifest = read_source("digits")
    assert manifest.classes == tuple("0123456789")
    assert np.array_equal(manifest.targets, load_digits().target)
    assert manifest.uris[5].as_py() == "builtin://digits/5"
    assert len(set(manifest.ids.to_pylist())) == 1797


def test_an_unknown_name_gets_the_nearest_builtin_one() -> None:
    with pytest.raises(DataNotFoundError, match=r"no folder digit.*Did you mean 'digits'\?"):
        read_source("digit")


def test_an_unknown_format_gets_the_nearest_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no data format 'folders'\. Did you mean 'folder'\?"):
        read_source(str(tmp_path), format="folders")


def test_a_test_set_takes_the_positions_of_the_training_classes(tmp_path: Path) -> None:
    fill(tmp_path, "a/1.jpg", "b/2.jpg", "b/3.jpg")
    manifest = read_test_source(str(tmp_path), ("b", "a"))
    assert manifest.classes == ("b", "a")
    assert labels(manifest) == {"test/a/1.jpg": "a", "test/b/2.jpg": "b", "test/b/3.jpg": "b"}
    assert manifest.splits.tolist() == [TEST] * 3


def test_only_the_test_folder_of_a_divided_set_is_read(tmp_path: Path) -> None:
    fill(tmp_path, "train/a/1.jpg", "train/b/2.jpg", "Test/a/3.jpg", "Test/b/4.jpg")
    manifest = read_test_source(str(tmp_path), ("a", "b"))
    assert manifest.ids.to_pylist() == ["test/a/3.jpg", "test/b/4.jpg"]
    assert all(Path(uri).is_file() for uri in manifest.uris.to_pylist())


def test_test_classes_that_differ_are_named_on_both_sides(tmp_path: Path) -> None:
    fill(tmp_path, "a/1.jpg", "owl/2.jpg")
    with pytest.raises(ClassesError, match=r"the test set has no images of 'b', 'c'; .* does not know 'owl'"):
        read_test_source(str(tmp_path), ("a", "b", "c"))


def test_walking_lists_images_without_labels(tmp_path: Path) -> None:
    fill(tmp_path, "b/2.jpg", "1.jpg", "b/notes.txt", ".x/3.jpg")
    assert list(walk_images(tmp_path)) == ["1.jpg", "b/2.jpg"]


@pytest.mark.skipif("LINNAEUS_DATA" not in os.environ, reason="LINNAEUS_DATA is not set: no unpacked data sets")
def test_cifar10_has_6000_images_of_each_class() -> None:
    manifest = read_source(f"{os.environ['LINNAEUS_DATA']}/cifar10")
    assert manifest.class_counts(manifest.rows(TRAIN)).tolist() == [5000] * 10
    assert manifest.class_counts(manifest.rows(TEST)).tolist() == [1000] * 10


def test_the_folder_of_a_run_is_no_data(tmp_path: Path) -> None:
    for name in ("evaluation.json", "predictions.parquet"):
        (tmp_path / name).touch()
    with pytest.raises(DataError, match="folder of a run"):
        read_source(str(tmp_path))
