"""Data sets from the network, only when asked for by name: `torchvision:NAME` and `hf:NAME`.

They are downloaded by their own package, written once as class folders of lossless PNG files into the user's cache
folder, and read from there ever after. Two processes that ask for the same one download it once.
"""

from __future__ import annotations

import importlib
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from linnaeus.atomic import locked
from linnaeus.data.cache.folder import cache_folder, unfinished
from linnaeus.data.manifest import Manifest
from linnaeus.data.sources.folder import read_folder
from linnaeus.errors import DataError, DataNotFoundError, LinnaeusError, OutputError, nearest_name
from linnaeus.progress import SILENT

SCHEMES = ("torchvision:", "hf:")
_Samples = Iterable[tuple[str, Any, str]]
"""(split, Pillow image, class name)"""


def is_hub(source: str) -> bool:
    """Whether a source names a data set in the network."""
    return source.startswith(SCHEMES)


def read_hub(source: str) -> Manifest:
    """Download a data set, unless that was done before, and read it.

    Raises DataNotFoundError, saying what is needed, without the package or the network or for an unknown name;
    OutputError if the cache folder cannot be written.
    """
    scheme, _, name = source.partition(":")
    # As the hub itself writes them in file names: a/b-c and a-b/c stay two names.
    folder = cache_folder() / f"{scheme}-{re.sub(r'[^A-Za-z0-9._-]', '_', name.replace('/', '--'))}"
    if not folder.is_dir():
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"Cannot write {folder.parent}: {error.strerror or error}.") from error
        with locked(folder, SILENT):
            if not folder.is_dir():  # else another process was quicker
                _download(source, scheme, name, folder)
    return read_folder(folder)


def _download(source: str, scheme: str, name: str, folder: Path) -> None:
    started = unfinished(folder)
    shutil.rmtree(started, ignore_errors=True)  # of a download that was killed
    try:
        samples = _torchvision(name, started / "download") if scheme == "torchvision" else _huggingface(name)
        _write(samples, started / "images")
        (started / "images").rename(folder)
    except LinnaeusError:
        raise
    except Exception as error:  # each data set has its own way to fail without a network
        said = " ".join(str(error).split())[:200]
        raise DataNotFoundError(
            f"{source} could not be downloaded ({type(error).__name__}: {said}). It needs a network; "
            "data sets on this machine are named by their path."
        ) from error
    finally:
        shutil.rmtree(started, ignore_errors=True)


def _torchvision(name: str, download: Path) -> Iterator[tuple[str, Any, str]]:
    datasets = _package("torchvision.datasets", "torchvision", f"torchvision:{name}")
    if name not in getattr(datasets, "__all__", ()):
        hint = nearest_name(name, datasets.__all__)
        raise DataNotFoundError(f"torchvision has no data set '{name}'.{hint}")
    build = getattr(datasets, name)
    parts = []
    for split, arguments in (("train", {"train": True}), ("test", {"train": False})):
        try:
            parts.append((split, build(str(download), download=True, **arguments)))
        except TypeError:
            parts.append((split, build(str(download), download=True, split=split)))
    for split, dataset in parts:
        names = getattr(dataset, "classes", None)
        for image, target in dataset:
            if not isinstance(target, int):
                raise DataError(f"torchvision:{name} has no one label per image.")
            yield split, image, str(names[target] if names else target)


def _huggingface(name: str) -> Iterator[tuple[str, Any, str]]:
    datasets = _package("datasets", "datasets", f"hf:{name}")
    for split, dataset in datasets.load_dataset(name).items():
        features = dataset.features
        image = next((key for key, kind in features.items() if type(kind).__name__ == "Image"), None)
        label = next((key for key, kind in features.items() if type(kind).__name__ == "ClassLabel"), None)
        if image is None or label is None:
            raise DataError(f"hf:{name} has no columns of images and of class labels, but {', '.join(features)}.")
        for row in dataset:
            yield split, row[image], features[label].names[row[label]]


def _package(module: str, package: str, source: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise DataNotFoundError(f"{source} needs the package '{package}': pip install {package}") from error


def _write(samples: _Samples, folder: Path) -> None:
    known = {"train": "train", "test": "test", "validation": "val", "valid": "val", "val": "val"}
    for number, (split, image, label) in enumerate(samples):
        name = label.replace("/", "_").strip(". ") or "_"
        place = folder / known.get(split, "train") / name
        place.mkdir(parents=True, exist_ok=True)
        image.save(place / f"{number:07d}.png")
