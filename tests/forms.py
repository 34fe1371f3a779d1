"""The same 24 pictures of two kinds in every form that Linnaeus reads, for tests that run over all forms."""

from __future__ import annotations

import gzip
import json
import pickle
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

NAMES = ("bright", "dark")
LABELS = np.arange(24) % 2
PICTURES = np.stack(
    [
        np.random.default_rng(k).integers(0, 120, (32, 32, 3), dtype=np.uint8) + np.uint8(120 * (label == 0))
        for k, label in enumerate(LABELS.tolist())
    ]
)


def pngs(folder: Path) -> list[str]:
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"{k:02}.png" for k in range(len(PICTURES))]
    for name, picture in zip(names, PICTURES, strict=True):
        Image.fromarray(picture).save(folder / name)
    return names


def folders(root: Path) -> Path:
    for k, (picture, label) in enumerate(zip(PICTURES, LABELS.tolist(), strict=True)):
        (root / NAMES[label]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(root / NAMES[label] / f"{k:02}.png")
    (root / "notes.txt").write_text("about these")
    return root


def _table(root: Path) -> pd.DataFrame:
    weights = 1.0 + LABELS
    names = pngs(root / "images")
    return pd.DataFrame({"file": names, "label": np.array(NAMES)[LABELS], "weight": weights})


def csv(root: Path) -> Path:
    _table(root).to_csv(root / "labels.csv", index=False)
    return root


def parquet(root: Path) -> Path:
    _table(root).to_parquet(root / "labels.parquet")
    return root / "labels.parquet"


def json_lines(root: Path) -> Path:
    _table(root).to_json(root / "labels.jsonl", orient="records", lines=True)
    return root


def npy(root: Path) -> Path:
    root.mkdir()
    np.save(root / "data_train.npy", PICTURES.astype(np.float32) / 255)
    np.save(root / "labels_train.npy", LABELS)
    return root


def npz(root: Path) -> Path:
    root.mkdir()
    np.savez_compressed(root / "set.npz", x=PICTURES.transpose(0, 3, 1, 2), y=LABELS)
    return root / "set.npz"


def cifar_python(root: Path) -> Path:
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    planes = PICTURES.transpose(0, 3, 1, 2).reshape(24, -1)
    for name, part in (("data_batch_1", slice(0, 18)), ("test_batch", slice(18, 24))):
        batch = {b"data": planes[part], b"labels": LABELS[part].tolist()}
        (folder / name).write_bytes(pickle.dumps(batch, protocol=4))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": list(NAMES)}, protocol=2))
    return folder


def cifar_archive(root: Path) -> Path:
    folder = cifar_python(root.parent / f"{root.name}-unpacked")
    root.mkdir()
    with tarfile.open(root / "cifar-10-python.tar.gz", "w:gz") as archive:
        archive.add(folder, folder.name)
    return root / "cifar-10-python.tar.gz"


def cifar_binary(root: Path) -> Path:
    folder = root / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    planes = PICTURES.transpose(0, 3, 1, 2).reshape(24, -1)
    records = np.concatenate([LABELS[:, None].astype(np.uint8), planes], axis=1)
    (folder / "data_batch_1.bin").write_bytes(records[:18].tobytes())
    (folder / "test_batch.bin").write_bytes(records[18:].tobytes())
    (folder / "batches.meta.txt").write_text("\n".join(NAMES) + "\n")
    return folder


def idx(root: Path) -> Path:
    root.mkdir()
    for kind, values in (("images-idx3", PICTURES[..., 0]), ("labels-idx1", LABELS.astype(np.uint8))):
        head = bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
        (root / f"train-{kind}-ubyte.gz").write_bytes(gzip.compress(head + values.tobytes()))
    return root


def label_lists(root: Path) -> Path:
    names = pngs(root / "images")
    (root / "labels").mkdir()
    for label, kind in enumerate(NAMES):
        chosen = [name for name, own in zip(names, LABELS.tolist(), strict=True) if own == label or name < "04"]
        (root / "labels" / f"{kind}.txt").write_text("\n".join(chosen) + "\n")
    return root


def _scenes(folder: Path, suffix: str) -> dict[str, list[tuple[int, tuple[int, int, int, int]]]]:
    """Six scenes of 2 x 2 pictures, and the label and corners of each picture in them."""
    folder.mkdir(parents=True)
    scenes = {}
    for scene in range(6):
        canvas, objects = np.zeros((64, 64, 3), np.uint8), []
        for cell in range(4):
            x, y = 32 * (cell % 2), 32 * (cell // 2)
            canvas[y : y + 32, x : x + 32] = PICTURES[4 * scene + cell]
            objects.append((int(LABELS[4 * scene + cell]), (x, y, x + 32, y + 32)))
        Image.fromarray(canvas).save(folder / f"{scene}{suffix}")
        scenes[f"{scene}{suffix}"] = objects
    return scenes


def xview(root: Path) -> Path:
    scenes = _scenes(root / "train_images", ".tif")
    features = [
        {"properties": {"bounds_imcoords": ",".join(map(str, box)), "image_id": name, "type_id": (18, 73)[label]}}
        for name, objects in scenes.items()
        for label, box in objects
    ]
    (root / "xView_train.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    (root / "class_labels.txt").write_text(f"18:{NAMES[0]}\n73:{NAMES[1]}\n")
    return root


def coco(root: Path) -> Path:
    scenes = _scenes(root / "images", ".png")
    page = {
        "images": [{"id": k, "file_name": name} for k, name in enumerate(scenes)],
        "annotations": [
            {"image_id": k, "category_id": label, "bbox": [x0, y0, x1 - x0, y1 - y0]}
            for k, objects in enumerate(scenes.values())
            for label, (x0, y0, x1, y1) in objects
        ],
        "categories": [{"id": k, "name": name} for k, name in enumerate(NAMES)],
    }
    (root / "instances.json").write_text(json.dumps(page))
    return root


def voc(root: Path) -> Path:
    scenes = _scenes(root / "JPEGImages", ".png")
    (root / "Annotations").mkdir()
    for name, objects in scenes.items():
        items = "".join(
            f"<object><name>{NAMES[label]}</name><bndbox><xmin>{x0}</xmin><ymin>{y0}</ymin><xmax>{x1}</xmax>"
            f"<ymax>{y1}</ymax></bndbox></object>"
            for label, (x0, y0, x1, y1) in objects
        )
        page = f"<annotation><filename>{name}</filename>{items}</annotation>"
        (root / "Annotations" / f"{Path(name).stem}.xml").write_text(page)
    return root


def yolo(root: Path) -> Path:
    scenes = _scenes(root / "images", ".png")
    (root / "labels").mkdir()
    for name, objects in scenes.items():
        lines = [
            f"{label} {(x0 + x1) / 128} {(y0 + y1) / 128} {(x1 - x0) / 64} {(y1 - y0) / 64}"
            for label, (x0, y0, x1, y1) in objects
        ]
        (root / "labels" / f"{Path(name).stem}.txt").write_text("\n".join(lines) + "\n")
    (root / "data.yaml").write_text(f"names: [{', '.join(NAMES)}]\n")
    return root


def saved(root: Path) -> Path:
    from linnaeus.data.sources import read_source

    read_source(str(folders(root / "pictures"))).save(root / "set.parquet")
    return root / "set.parquet"


FORMS: dict[str, Callable[[Path], Path]] = {
    "folders": folders,
    "csv": csv,
    "parquet": parquet,
    "jsonl": json_lines,
    "npy": npy,
    "npz": npz,
    "cifar python": cifar_python,
    "cifar tar.gz": cifar_archive,
    "cifar binary": cifar_binary,
    "idx": idx,
    "label lists": label_lists,
    "xview": xview,
    "coco": coco,
    "voc": voc,
    "yolo": yolo,
    "saved": saved,
}
"""Writes the pictures below a folder that is not there yet, and returns what is to be named to Linnaeus."""
