# /// script
# requires-python = ">=3.11"
# dependencies = ["tensorflow-cpu==2.21.0", "keras==3.15.1", "scipy==1.17.1", "pillow==13.0.0"]
# ///
"""C1 as its authors built it, in Keras: seconds per epoch, and how its time to 86 % compares with ours.

    LINNAEUS_DATA=FOLDER uv run benchmarks/c1_keras.py --with-ours

uv reads the lines above and builds an environment of this script's own, so that TensorFlow never enters the project's.
(Without uv: pip install those four into any environment; away from x86-64, `tensorflow` instead of `tensorflow-cpu`.)
FOLDER/cifar10 holds train/ and test/ folders of class folders.

C1 is the Mish CNN of our recipe c1 with its 404,778 parameters: float32, Adam 1e-3, batches of 128, L2 0.001 on
the convolutions, standardised channels, and Keras' own ImageDataGenerator (rotation 15 degrees, shifts 0.1, mirroring),
which current Keras still has under tf.keras. It resamples image by image in Python, in `--workers` threads: two halved
the time of an epoch on 2 cores, so we give it two, against Keras' default of one.

So that nothing flatters us: the clock of C1 runs in training only (decoding, validation and test are outside), that of
ours also in validation. As in ours, 2,500 training images are set aside and "86 %" means validation accuracy; epochs
are equally long in both. Test accuracy is only printed. Ours computes in the precision it chooses for the machine.
A few epochs suffice: C1's learning rate is constant, so its time to 86 % is seconds per epoch (the first, which builds
the graph, aside) times the epochs it needs. These come from our own C1 recipe (the same network, optimizer and changes
to images) by --with-ours, or from `--epochs-to-86`. Without either, only what was measured is printed.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shlex
import statistics
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SCORE = 0.86
SIDE = 32
BATCH_SIZE = 128
NUM_PARAMETERS = 404_778
HELD_OUT_PER_CLASS, HELD_OUT_FRACTION = 250, 0.15
Row = dict[str, float]


@dataclass(frozen=True)
class Images:
    """pixels: float32 [N, 32, 32, 3], 0-255 until standardised; targets: int64 [N]."""

    pixels: np.ndarray
    targets: np.ndarray


@dataclass(frozen=True)
class Ours:
    """A run of the linnaeus command; `epoch` and `seconds` are those at which validation first was 0.86, or None."""

    name: str
    accuracy: float
    num_epochs: int
    seconds_per_epoch: float
    epoch: int | None
    seconds: float | None


def read_images(folder: Path) -> Images:
    names = sorted(child.name for child in folder.iterdir() if child.is_dir())
    paths = [(path, k) for k, name in enumerate(names) for path in sorted((folder / name).iterdir())]

    def decode(path: Path) -> np.ndarray:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB").resize((SIDE, SIDE)))

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        pixels = np.stack(list(pool.map(decode, [path for path, _ in paths])))
    return Images(pixels.astype(np.float32), np.array([k for _, k in paths]))


def hold_out(images: Images, seed: int) -> tuple[Images, Images]:
    """(training, validation): 250 of every class, or 15 % where that is less, are set aside."""
    rng = np.random.default_rng(seed)
    held = np.zeros(len(images.targets), bool)
    for k in np.unique(images.targets):
        rows = rng.permutation(np.flatnonzero(images.targets == k))
        held[rows[: min(HELD_OUT_PER_CLASS, round(HELD_OUT_FRACTION * len(rows)))]] = True
    return Images(images.pixels[~held], images.targets[~held]), Images(images.pixels[held], images.targets[held])


def build_c1(num_classes: int) -> Any:
    import keras
    from keras import layers

    network = keras.Sequential([layers.Input((SIDE, SIDE, 3))])
    for widths, dropout in (((32, 32), 0.2), ((64, 64), 0.3), ((128,), 0.4)):
        for width in widths:
            network.add(
                layers.Conv2D(
                    width,
                    3,
                    padding="same",
                    activation="mish",
                    kernel_initializer="he_uniform",
                    kernel_regularizer=keras.regularizers.L2(0.001),
                )
            )
            network.add(layers.BatchNormalization())
        network.add(layers.MaxPooling2D(2))
        network.add(layers.Dropout(dropout))
    network.add(layers.Flatten())
    network.add(layers.Dense(128, activation="mish"))
    network.add(layers.BatchNormalization())
    network.add(layers.Dropout(0.5))
    network.add(layers.Dense(num_classes, activation="softmax"))
    network.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
    assert network.dtype_policy.name == "float32"
    assert num_classes != 10 or network.count_params() == NUM_PARAMETERS, network.count_params()
    return network


def train_keras(train: Images, validation: Images, test: Images, *, epochs: int, workers: int) -> list[Row]:
    """One row per epoch: seconds of training, validation and test accuracy."""
    import tensorflow as tf

    network = build_c1(int(train.targets.max()) + 1)
    generator = tf.keras.preprocessing.image.ImageDataGenerator(
        rotation_range=15, width_shift_range=0.1, height_shift_range=0.1, horizontal_flip=True
    )
    batches = generator.flow(train.pixels, train.targets, batch_size=BATCH_SIZE)
    batches.workers = workers

    def accuracy(images: Images) -> float:
        return float(network.evaluate(images.pixels, images.targets, batch_size=500, verbose=0)[1])

    rows: list[Row] = []
    for epoch in range(epochs):
        clock = time.perf_counter()
        network.fit(batches, epochs=epoch + 1, initial_epoch=epoch, verbose=0)
        row = {"seconds": time.perf_counter() - clock, "validation": accuracy(validation), "test": accuracy(test)}
        rows.append(row)
        scores = f"validation {row['validation']:.2%}, test {row['test']:.2%}"
        print(f"  epoch {epoch + 1}: {row['seconds']:.1f} s, {scores}", flush=True)
    clock = time.perf_counter()
    seen = sum(len(batches[k][1]) for k in range(min(20, len(batches))))
    print(f"  ImageDataGenerator alone, one thread: {seen / (time.perf_counter() - clock):,.0f} images/s")
    return rows


def run_ours(command: str, name: str, source: Path, folder: Path, options: list[str]) -> Ours:
    """Run the linnaeus command in its own interpreter and read what it wrote."""
    out = folder / name
    environment = {key: value for key, value in os.environ.items() if key != "VIRTUAL_ENV"}
    environment["LINNAEUS_CACHE"] = str(folder / "cache")
    line = [*shlex.split(command), "train", str(source), "--out", str(out), *options]
    done = subprocess.run(line, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{shlex.join(line)} ended with status {done.returncode}:\n{done.stdout}\n{done.stderr}")
    accuracy = json.loads((out / "evaluation.json").read_text(encoding="utf-8"))["test"]["accuracy"]["value"]
    with (out / "history.csv").open(newline="", encoding="utf-8") as file:
        history = list(csv.DictReader(file))
    first = next((row for row in history if float(row["validation_accuracy"]) >= SCORE), None)
    ours = Ours(
        name=name,
        accuracy=accuracy,
        num_epochs=len(history),
        seconds_per_epoch=float(history[-1]["seconds"]) / len(history),
        epoch=None if first is None else int(first["epoch"]),
        seconds=None if first is None else float(first["seconds"]),
    )
    reached = "never" if first is None else f"after {ours.seconds:.1f} s (epoch {ours.epoch})"
    speed = f"{ours.num_epochs} epochs of {ours.seconds_per_epoch:.1f} s"
    print(f"{name}: {speed}, test {accuracy:.2%}; 86 % validation {reached}", flush=True)
    return ours


def time_to_86(rows: list[Row], epochs_to_86: list[int]) -> tuple[float, float, str] | None:
    """(least, most, how it is known) seconds, or None if nothing tells."""
    for number, row in enumerate(rows, start=1):
        if row["validation"] >= SCORE:
            seconds = sum(r["seconds"] for r in rows[:number])
            return seconds, seconds, f"measured, {number} epochs"
    if not epochs_to_86:
        return None
    later = [row["seconds"] for row in rows[1:] or rows]
    least, most = min(epochs_to_86), max(epochs_to_86)
    how = f"extrapolated: {least} to {most} epochs of {min(later):.1f} to {max(later):.1f} s"
    return least * min(later), most * max(later), how


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="default $LINNAEUS_DATA/cifar10")
    parser.add_argument("--epochs", type=int, default=5, help="of C1 in Keras")
    parser.add_argument("--workers", type=int, default=2, help="threads of its data generator; 1 is Keras' default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs-to-86", type=int, nargs="+", default=[], help="epochs C1 needs, of one or more seeds")
    parser.add_argument("--with-ours", action="store_true", help="first our C1 recipe, then our default")
    parser.add_argument("--linnaeus", default="uv run linnaeus", help="the command that runs ours")
    parser.add_argument("--c1-epochs", type=int, help="at most so many of our C1 recipe, instead of the recipe's")
    parser.add_argument("--default-time-limit", help="of our default, such as 3m; by default it trains in full")
    arguments = parser.parse_args()
    source = (arguments.data or Path(os.environ["LINNAEUS_DATA"]) / "cifar10").resolve()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

    print(f"{len(os.sched_getaffinity(0))} cores, load average before: {os.getloadavg()[0]:.1f}", flush=True)
    ours: list[Ours] = []
    if arguments.with_ours:
        seed = ["--seed", str(arguments.seed)]
        epochs = [] if arguments.c1_epochs is None else ["--epochs", str(arguments.c1_epochs)]
        limit = [] if arguments.default_time_limit is None else ["--time-limit", arguments.default_time_limit]
        with tempfile.TemporaryDirectory(prefix="linnaeus-benchmark-") as folder:
            for name, options in (("our C1", ["--recipe", "c1", *epochs]), ("our default", limit)):
                ours.append(run_ours(arguments.linnaeus, name, source, Path(folder), [*options, *seed]))

    clock = time.perf_counter()
    train, test = read_images(source / "train"), read_images(source / "test")
    print(f"{len(train.targets) + len(test.targets):,} files decoded in {time.perf_counter() - clock:.1f} s")
    train, validation = hold_out(train, arguments.seed)
    mean, std = train.pixels.mean((0, 1, 2)), train.pixels.std((0, 1, 2))
    train, validation, test = (Images((i.pixels - mean) / std, i.targets) for i in (train, validation, test))

    import keras

    keras.utils.set_random_seed(arguments.seed)
    print(f"C1 in Keras {keras.__version__}, {len(train.targets):,} training images, {arguments.workers} threads:")
    rows = train_keras(train, validation, test, epochs=arguments.epochs, workers=arguments.workers)
    later = [row["seconds"] for row in rows[1:] or rows]
    print(f"  seconds per epoch: {statistics.median(later):.1f} ({min(later):.1f} to {max(later):.1f})")

    known = arguments.epochs_to_86 or [run.epoch for run in ours if run.name == "our C1" and run.epoch is not None]
    found = time_to_86(rows, known)
    if found is None:
        print(f"86 % was not reached in {len(rows)} epochs, and nothing here tells how many it needs: no extrapolation")
        return
    least, most, how = found
    print(f"  time to 86 %: {least:.0f} to {most:.0f} s ({how})")
    for run in ours:
        if run.seconds is not None:
            print(f"{run.name} reaches 86 % {least / run.seconds:.1f} to {most / run.seconds:.1f} times as fast")


if __name__ == "__main__":
    main()
