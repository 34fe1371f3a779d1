"""Which loss, head and thresholds for several labels: heads on features that a run has extracted already.

    python benchmarks/label_heads.py RUN FEATURES

RUN is a finished run on a backbone (`linnaeus train posters/ --backbone tf_efficientnet_lite0 --weights weights/`),
FEATURES the features.npy of it in the cache. Only its training and validation images are touched: they are divided
anew, five parts to train on and one to judge by, for each of three seeds. Figures: docs/log.md
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from linnaeus.data.manifest import TRAIN, VALIDATION
from linnaeus.data.splits.multilabel import multilabel_folds
from linnaeus.judging.thresholds import choose_thresholds
from linnaeus.losses.multilabel import asymmetric_loss, binary_cross_entropy
from linnaeus.metrics.classification import macro_f1
from linnaeus.metrics.multilabel import label_counts, mean_average_precision, micro_f1
from linnaeus.run.finished import Run
from linnaeus.training.head_path import solve_path

SEEDS, EPOCHS, HALVES = 3, 12, 10
Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
LOSSES: dict[str, Loss] = {
    "binary cross-entropy": lambda logits, labels: binary_cross_entropy(logits, labels) * labels.shape[1],
    "asymmetric 4/1/0.05": lambda logits, labels: asymmetric_loss(
        logits, labels, gamma_neg=4.0, gamma_pos=1.0, clip=0.05
    ),
    "asymmetric 2/0/0.05": lambda logits, labels: asymmetric_loss(
        logits, labels, gamma_neg=2.0, gamma_pos=0.0, clip=0.05
    ),
}


def main(run: Path, features: Path) -> None:
    """Print mean average precision, and micro and macro F1 by each rule of thresholds, of every head and seed."""
    manifest = Run(run).manifest
    rows = manifest.rows_of(TRAIN, VALIDATION)
    images, labels = np.load(features)[0, rows].astype(np.float32), manifest.targets[rows].astype(np.uint8)
    for seed in range(SEEDS):
        held_out = multilabel_folds(labels, num_folds=6, seed=seed) == 0
        train, test = (images[~held_out], labels[~held_out]), (images[held_out], labels[held_out])
        clock = time.perf_counter()
        solved = solve_path(*train, validation=test, num_classes=labels.shape[1])
        tell(seed, f"linear, L-BFGS, penalty {solved.penalty:g}", test[1], solved.head.logits(test[0]), clock)
        for name, loss in LOSSES.items():
            for hidden in (0, 256):
                clock = time.perf_counter()
                logits = trained(loss, train, test, hidden=hidden, seed=seed)
                tell(seed, f"{'linear' if not hidden else f'{hidden} hidden'}, AdamW, {name}", test[1], logits, clock)


def trained(
    loss: Loss, train: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray], *, hidden: int, seed: int
) -> np.ndarray:
    """Logits [N, K] of the held-out images at the epoch with the best mean average precision there."""
    torch.manual_seed(seed)
    mean, std = train[0].mean(axis=0), train[0].std(axis=0) + 1e-3
    seen, unseen = (torch.from_numpy((part - mean) / std) for part in (train[0], test[0]))
    wanted, num_labels = torch.from_numpy(train[1]), train[1].shape[1]
    head: torch.nn.Module = torch.nn.Linear(seen.shape[1], num_labels)
    if hidden:
        layers = [torch.nn.Dropout(0.3), torch.nn.Linear(seen.shape[1], hidden), torch.nn.ReLU()]
        head = torch.nn.Sequential(*layers, torch.nn.Dropout(0.5), torch.nn.Linear(hidden, num_labels))
    optimizer = torch.optim.AdamW(head.parameters(), lr=1e-3, weight_decay=1e-2)
    best, kept = -1.0, np.zeros(0)
    for _ in range(EPOCHS):
        head.train()
        for batch in torch.randperm(len(seen)).split(128):
            optimizer.zero_grad()
            loss(head(seen[batch]), wanted[batch]).mean().backward()
            optimizer.step()
        head.eval()
        with torch.no_grad():
            logits = head(unseen).numpy()
        if (precision := mean_average_precision(test[1], logits)) > best:
            best, kept = precision, logits
    return kept


def tell(seed: int, what: str, labels: np.ndarray, logits: np.ndarray, clock: float) -> None:
    """One line. Thresholds are chosen on one half of the images and judged on the other, ten times."""
    seconds = time.perf_counter() - clock
    probabilities, rng = 1 / (1 + np.exp(-logits.astype(np.float64))), np.random.default_rng(0)
    parts = [np.array_split(rng.permutation(len(labels)), 2) for _ in range(HALVES)]
    words = []
    for rule in ("per_label", "balanced", "global"):
        scores = []
        for one, other in parts:
            chosen = choose_thresholds(labels[one], probabilities[one], rule=rule).values
            given = (probabilities[other] >= chosen).astype(np.uint8)
            counts = label_counts(labels[other], given)
            scores.append((float(micro_f1(counts)), float(macro_f1(counts)), (given == labels[other]).mean()))
        words.append(f"{rule} " + " ".join(f"{100 * value:.1f}" for value in np.mean(scores, axis=0)))
    precision = mean_average_precision(labels, logits)
    print(f"{seed} | {what} | {100 * precision:.1f} | {' | '.join(words)} | {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
