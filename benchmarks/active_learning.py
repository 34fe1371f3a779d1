"""Which images to label first: the order of `linnaeus review --unlabelled` against a random one.

    uv run python benchmarks/active_learning.py RUN --seeds 5

RUN is a finished run with a head on a backbone's features, such as of
`linnaeus train clothing/ --backbone tf_efficientnet_lite0 --folds 5`. Its training images play the unlabelled pool: a
head is solved for on 100 of them, 100 more are labelled in either order, and a new head is judged by the validation
images (the test images play no part).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from linnaeus.data.cache.images import open_cache
from linnaeus.data.loader import FeatureStore, ImageStore
from linnaeus.data.manifest import TRAIN, VALIDATION
from linnaeus.progress import SILENT
from linnaeus.review.selection import most_informative
from linnaeus.run.finished import Run
from linnaeus.training.head_path import solve_path
from linnaeus.training.head_phase import feature_store
from linnaeus.training.job import Job
from linnaeus.training.runtime import start_runtime

FIRST, MORE = 100, 100
PENALTIES = [0.1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    run = Run(arguments.run)
    manifest, config, bundle = run.manifest, run.config, run.bundle
    runtime = start_runtime(config.runtime)
    images = ImageStore(open_cache(manifest, bundle.image_spec), manifest, runtime.device)
    job = Job(config, manifest, images, bundle.image_spec, runtime, "none", SILENT, lambda: False)
    store: FeatureStore = feature_store(bundle.classifier, job, views=1)
    features = store.features[0].astype(np.float32)
    pool, judges = manifest.rows(TRAIN), manifest.rows(VALIDATION)
    print("seed\tfirst 100\trandom\tmost informative")
    for seed in range(arguments.seeds):
        order = np.random.default_rng(seed).permutation(pool)
        first, rest = order[:FIRST], order[FIRST:]

        def accuracy(rows: np.ndarray) -> tuple[float, np.ndarray]:
            """Of the validation images, and the head's logits of all rows."""
            held_out = (features[judges], manifest.targets[judges])
            solution = solve_path(
                features[rows],
                manifest.targets[rows],
                validation=held_out,
                num_classes=manifest.num_classes,
                penalties=PENALTIES,
            )
            logits = solution.head.logits(features)
            return float((logits[judges].argmax(axis=1) == manifest.targets[judges]).mean()), logits

        before, logits = accuracy(first)
        probabilities = torch.from_numpy(logits[rest]).softmax(dim=1).numpy()
        informative = rest[most_informative(features[rest], probabilities, several=False, seed=seed)[:MORE]]
        scores = [accuracy(np.concatenate([first, some]))[0] for some in (rest[:MORE], informative)]
        print(f"{seed}\t{before:.1%}\t{scores[0]:.1%}\t{scores[1]:.1%}", flush=True)


if __name__ == "__main__":
    main()
