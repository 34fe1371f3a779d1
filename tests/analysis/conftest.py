"""A folder of images in which everything is wrong that the audit looks for, and nothing else."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFilter

SIDE = (96, 72)


def picture(seed: int, size: tuple[int, int] = SIDE) -> Image.Image:
    """A picture with large shapes and fine detail, unlike any of another seed."""
    generator = np.random.default_rng(seed)
    layers = [
        Image.fromarray(generator.integers(0, 256, (side, side, 3), np.uint8)).resize(size, Image.Resampling.BICUBIC)
        for side in (3, 6, 12, 48)
    ]
    return Image.fromarray(np.mean([np.asarray(layer, np.float32) for layer in layers], axis=0).astype(np.uint8))


def save(image: Image.Image, path: Path, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)


def flat(level: int, seed: int) -> Image.Image:
    """A nearly even grey with a little noise: neither blank nor like another one."""
    noise = np.random.default_rng(seed).normal(level, 3, (SIDE[1], SIDE[0], 1)).clip(0, 255)
    return Image.fromarray(np.repeat(noise.astype(np.uint8), 3, axis=2))


@pytest.fixture(scope="session")
def troubled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes in three splits, with every trouble planted once or twice."""
    root = tmp_path_factory.mktemp("troubled")
    seeds = iter(range(1000))
    for split, number in (("train", 20), ("validation", 6), ("test", 10)):
        for label in ("cat", "dog"):
            for k in range(number):
                save(picture(next(seeds)), root / split / label / f"{k:02}.png")
    train, test = root / "train", root / "test"
    # duplicates
    shutil.copy(train / "cat/00.png", train / "cat/copy-of-00.png")
    shutil.copy(train / "cat/01.png", train / "dog/cat-01-again.png")
    shutil.copy(train / "dog/02.png", test / "dog/leak-of-02.png")
    with Image.open(train / "cat/03.png") as image:
        save(image, train / "cat/03-as-bmp.bmp")
        save(image.resize((48, 36), Image.Resampling.LANCZOS), test / "cat/03-small.png")
    with Image.open(train / "cat/04.png") as image:
        save(image, train / "cat/04-recompressed.jpg", quality=30)
    with Image.open(train / "dog/05.png") as image:
        save(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), root / "validation/dog/05-mirrored.png")
    # files
    (train / "cat/empty.jpg").write_bytes(b"")
    whole = io.BytesIO()
    picture(2000).save(whole, "JPEG")
    (train / "dog/truncated.jpg").write_bytes(whole.getvalue()[:1500])
    (train / "dog/words.png").write_bytes(b"not an image at all, whatever its name says")
    save(picture(2001), train / "cat/png-called.jpg", format="PNG")
    # looks
    save(Image.new("RGB", SIDE, (200, 200, 200)), train / "cat/blank.png")
    save(Image.fromarray((np.asarray(picture(2002)) * 0.15).astype(np.uint8)), train / "dog/dark.png")
    save(picture(2003).filter(ImageFilter.GaussianBlur(9)), train / "dog/blurred.png")
    for k in range(4):
        save(flat(120 + k, 3000 + k), train / "cat" / f"flat-{k}.png")
    return root


@pytest.fixture(scope="session")
def make_picture():
    """`make_picture(seed, size)`: a picture unlike any of another seed."""
    return picture
