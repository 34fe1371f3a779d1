"""Puts images that you have into the forms in which the reference systems found theirs.

    python benchmarks/reference_forms.py arrays clothing/ u/ --size 128     # U: data_train.npy and labels_train.npy
    python benchmarks/reference_forms.py lists posters/labels.csv m/        # M: images/ and one text file per label

`arrays` stacks the photos of class folders (below split folders too), stretched to a square. `lists` reads a table with
the column Id and one 0/1 column per label, and links the images below `images/` beside it. X's scenes are a
folder with a GeoJSON file as xView ships it; P and C are class folders.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image


def make_arrays(photos: Path, out: Path, *, size: int) -> None:
    files = sorted(photos.rglob("*.jpg"))
    names = sorted({file.parent.name for file in files})
    out.mkdir(parents=True, exist_ok=True)
    pixels = np.lib.format.open_memmap(out / "data_train.npy", "w+", np.uint8, (len(files), size, size, 3))
    for k, file in enumerate(files):
        pixels[k] = np.asarray(Image.open(file).convert("RGB").resize((size, size), Image.Resampling.BILINEAR))
    np.save(out / "labels_train.npy", np.array([names.index(file.parent.name) for file in files]))
    print(f"{len(files)} photos of {len(names)} classes, in this order: {', '.join(names)}")


def make_lists(table: Path, out: Path) -> None:
    frame = pd.read_csv(table).drop_duplicates("Id")
    labels = [name for name in frame.columns if set(frame[name].unique()) <= {0, 1}]
    (out / "images").mkdir(parents=True, exist_ok=True)
    (out / "annotations").mkdir(exist_ok=True)
    there = []
    for name in frame["Id"]:
        image = table.parent / "images" / f"{name}.jpg"
        there.append(image.is_file())
        link = out / "images" / image.name
        if there[-1] and not link.exists():
            link.symlink_to(image.resolve())
    frame = frame[there]
    for label in labels:
        lines = "".join(f"{name}.jpg\n" for name in frame["Id"][frame[label] == 1])
        (out / "annotations" / f"{label.replace('/', '_')}.txt").write_text(lines, encoding="utf-8")
    print(f"{len(frame)} images, {len(labels)} labels")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("form", choices=["arrays", "lists"])
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--size", type=int, default=128)
    arguments = parser.parse_args()
    if arguments.form == "arrays":
        make_arrays(arguments.source, arguments.out, size=arguments.size)
    else:
        make_lists(arguments.source, arguments.out)


if __name__ == "__main__":
    main()
