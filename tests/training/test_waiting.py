"""A step of training never waits for the device: whatever is set, it reads no number and sends no constant."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from linnaeus.config.pages import read_recipe
from linnaeus.config.resolved import ResolvedPhase, resolve
from linnaeus.config.settings import AugmentConfig, LossConfig, parse_config
from linnaeus.data.cache.images import open_cache
from linnaeus.data.image_spec import ImageSpec
from linnaeus.data.loader import FeatureStore, ImageStore
from linnaeus.data.manifest import TRAIN, VALIDATION, Manifest, manifest_from_columns
from linnaeus.errors import TrainingError
from linnaeus.losses.penalty import choose_penalties
from linnaeus.models import build_classifier
from linnaeus.training import loop
from linnaeus.training.checkpoint import Position, TrainState
from linnaeus.training.depthwise import FastDepthwiseGradients, fast_depthwise_gradients
from linnaeus.training.epoch_sums import read_sums
from linnaeus.training.job import Job
from linnaeus.training.optim import build_optimizers
from linnaeus.training.phases import MovingAverage, moving_average
from linnaeus.training.runtime import Runtime, start_runtime

NUM_IMAGES, SIDE = 48, 16
READS = {"_local_scalar_dense", "item", "is_nonzero", "equal", "nonzero", "masked_select", "_unique2", "bincount"}
"""Operations whose result the host must know; on a GPU each waits until the GPU has done all that came before."""
CONSTANTS = {torch.tensor, torch.as_tensor}
"""Of numbers in Python: on a GPU a copy from ordinary memory, which waits as well."""

AUGMENTATIONS: dict[str, list[dict[str, Any]]] = {
    "policy": [
        {"policy": "trivial_augment"},
        {"policy": "rand_augment"},
        *(read_recipe(name)["augment"] for name in ("c1", "m1", "p3", "u2", "x3")),
    ],
    "policy_num_ops": [{"policy": "rand_augment", "policy_num_ops": 3}],
    "policy_magnitude": [{"policy": "rand_augment", "policy_magnitude": 20, "rotate_degrees": 5}],
    "flip": [{"flip": kind} for kind in ("horizontal", "vertical", "both")],
    "alternate_flip": [{"flip": kind, "alternate_flip": True} for kind in ("horizontal", "both")],
    "pad_crop_px": [{"pad_crop_px": 2, "flip": "horizontal"}],
    "probability": [{"probability": 0.5, "rotate_degrees": 5, "noise": 0.1}],
    "distribution": [{"distribution": "normal", "rotate_degrees": 5}],
    "translate": [{"translate": 0.1}],
    "rotate_degrees": [{"rotate_degrees": 10}],
    "zoom": [{"zoom": 0.1, "alternate_flip": True, "flip": "both"}],
    "shear_degrees": [{"shear_degrees": 10}],
    "fill": [{"fill": kind, "rotate_degrees": 10} for kind in ("zeros", "border", "reflection")],
    "brightness": [{"brightness": 0.2}],
    "contrast": [{"contrast": 0.2}],
    "saturation": [{"saturation": 0.2}],
    "hue": [{"hue": 0.2}],
    "noise": [{"noise": 0.1}],
    "random_erasing": [{"random_erasing": 0.5}],
    "mixup": [{"mixup": 0.2}, {"mixup": 0.2, "cutmix": 1.0}],
    "cutmix": [{"cutmix": 1.0}],
}


class Watch(TorchDispatchMode):
    """Notes every operation that would make the host wait for a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[str] = []
        self.constants = WatchConstants(self.waits)

    def __enter__(self) -> Watch:
        self.constants.__enter__()
        super().__enter__()
        return self

    def __exit__(self, *what: Any) -> None:
        super().__exit__(*what)
        self.constants.__exit__(*what)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        indices = [part for part in args[1] if part is not None] if name in ("index", "index_put", "index_put_") else []
        by_mask = any(part.dtype in (torch.bool, torch.uint8) for part in indices)
        if name in READS or by_mask:
            self.waits.append(name)
        return func(*args, **(kwargs or {}))


class WatchConstants(TorchFunctionMode):
    """Notes every tensor that is made from Python's numbers."""

    def __init__(self, waits: list[str]) -> None:
        super().__init__()
        self.waits = waits

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in CONSTANTS:
            self.waits.append("tensor")
        return func(*args, **(kwargs or {}))


@pytest.fixture(scope="module")
def runtime() -> Runtime:
    return start_runtime(parse_config({"runtime": {"device": "cpu", "threads": 1, "precision": "32"}}).runtime)


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory, runtime: Runtime) -> Callable[..., Job]:
    folder = tmp_path_factory.mktemp("images")
    generator, paths = np.random.default_rng(0), [str(folder / f"{k}.png") for k in range(NUM_IMAGES)]
    for path in paths:
        Image.fromarray(generator.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)).save(path)
    splits = [VALIDATION if k % 4 == 3 else TRAIN for k in range(NUM_IMAGES)]
    spec = ImageSpec(SIDE, SIDE, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.25))

    def make(*, several: bool = False, weighted: bool = False, **settings: Any) -> Job:
        weights = [1.0 + k % 3 for k in range(NUM_IMAGES)] if weighted else None
        labels = [("a", "b", "c")[k % 3] for k in range(NUM_IMAGES)]
        manifest: Manifest = manifest_from_columns(paths, paths, labels, splits=splits, weights=weights)
        if several:
            manifest = replace(manifest, targets=np.eye(3, dtype=np.uint8)[manifest.targets.astype(np.int64)])
        store = ImageStore(open_cache(manifest, spec, folder=folder / "cache"), manifest, runtime.device)
        page = {
            "data": {"out_of_fold": 0},
            "image": {"size": SIDE},
            "model": {"name": "mish_cnn", "features": "last"},
            "phases": [{"batch_size": 12, "epochs": 1}],
            "evaluate": {"tta": "none", "batch_size": 16},
            **settings,
        }
        config = resolve(parse_config(page))
        return Job(config, manifest, store, spec, runtime, "none")

    return make


def state_of(job: Job, phase: ResolvedPhase, name: str = "mish_cnn") -> TrainState:
    torch.manual_seed(0)
    classifier = build_classifier(name, num_classes=3, image_size=SIDE, options={})
    classifier.to(memory_format=torch.channels_last)
    model = classifier.head if job.on_features else job.runtime.fabric.setup_module(classifier)
    optimizers = build_optimizers(classifier, phase)
    penalties = choose_penalties(classifier, l1=job.config.loss.l1, l2=job.config.loss.l2)
    part = classifier.head if job.on_features else classifier
    return TrainState(model, optimizers, Position(), moving_average(part, phase), penalties)


def waits_of_two_steps(job: Job, phase: ResolvedPhase, name: str = "mish_cnn") -> list[str]:
    """The first step, which builds optimizer states, goes before."""
    state, rows = state_of(job, phase, name), job.manifest.rows(TRAIN)
    batches = loop._batches(job, state.position, rows, batch_size=12)
    loop.train_batch(state, job, phase, next(batches))
    with Watch() as watch:
        for _ in range(2):
            loop.train_batch(state, job, phase, next(batches))
    assert state.position.loss_sum == 0 and len(state.unread) >= 3
    read_sums(state.unread, state.position, phase, together=None)
    assert state.position.loss_sum > 0 and state.position.num_seen == 36
    return watch.waits


PHASE = ResolvedPhase(optimizer="sgd", lr=1e-3, batch_size=12, epochs=1)


def test_the_watch_sees_what_waits() -> None:
    values, mask = torch.arange(4.0), torch.tensor([True, False, True, False])
    with Watch() as watch:
        values[0].item()
        mask.nonzero()
        values[mask]
        values[mask] = torch.ones(2)
        bool(values[0] > 1)
        torch.tensor([1.0, 2.0])
        torch.nn.functional.one_hot(values.long(), 4)
    assert {"_local_scalar_dense", "nonzero", "index", "index_put_", "tensor"} <= set(watch.waits)


def test_every_augmentation_is_among_those_tried() -> None:
    assert set(AUGMENTATIONS) == set(AugmentConfig.model_fields)


@pytest.mark.parametrize("settings", [each for kind in AUGMENTATIONS.values() for each in kind], ids=str)
@pytest.mark.parametrize("several", [False, True])
def test_a_step_waits_for_nothing_under_any_augmentation(
    settings: dict[str, Any], several: bool, job: Callable[..., Job]
) -> None:
    loss = {"name": "bce" if several else "cross_entropy"}
    assert waits_of_two_steps(job(several=several, augment=settings, loss=loss), PHASE) == []


@pytest.mark.parametrize("mixup", [0.0, 0.2])
@pytest.mark.parametrize("name", get_args(LossConfig.model_fields["name"].annotation))
def test_a_step_waits_for_nothing_under_any_loss(name: str, mixup: float, job: Callable[..., Job]) -> None:
    several = name not in ("cross_entropy", "focal")
    shared: dict[str, Any] = {"name": name, "l1": {"head": 1e-4}, "l2": {"all": 1e-4}}
    rare = {} if several else {"class_weights": "balanced", "logit_adjustment": 1.0}
    smoothing = {"label_smoothing": 0.1} if name in ("cross_entropy", "focal", "bce") else {}
    for weighted in (False, True):
        made = job(several=several, weighted=weighted, augment={"mixup": mixup}, loss=shared | rare | smoothing)
        assert waits_of_two_steps(made, PHASE) == []


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "muon"])
def test_a_step_waits_for_nothing_under_any_optimizer(optimizer: str, job: Callable[..., Job]) -> None:
    phase = PHASE.model_copy(
        update={"optimizer": optimizer, "ema_decay": 0.9, "grad_clip_norm": 1.0, "micro_batch_size": 5}
    )
    assert waits_of_two_steps(job(), phase, "speed_cnn") == []


def test_a_step_on_features_waits_for_nothing(job: Callable[..., Job]) -> None:
    made = job()
    features = np.random.default_rng(0).standard_normal((2, NUM_IMAGES, 128)).astype(np.float16)
    store = FeatureStore(features, made.manifest, made.runtime.device, seed=0)
    assert waits_of_two_steps(replace(made, features=store), PHASE) == []


def test_losses_are_read_after_so_many_steps_and_at_the_end(
    job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []

    def watched(unread: Any, position: Position, *others: Any, **named: Any) -> None:
        read.append(position.batch)
        read_sums(unread, position, *others, **named)

    monkeypatch.setattr(loop, "read_sums", watched)
    sums = []
    for every in (4, 1, 100):
        made = job(runtime={"log_every_steps": every})
        phase = PHASE.model_copy(update={"batch_size": 4})
        state = state_of(made, phase)
        read.clear()
        assert loop.train_epoch(state, made, phase, save=lambda: None)
        assert read == {4: [4, 8, 9], 1: list(range(1, 10)), 100: [9]}[every]
        sums.append((state.position.loss_sum, state.position.num_correct))
    assert sums[0] == sums[1] == sums[2], "to the last bit"


@pytest.mark.parametrize("every", [1, 4, 100])
def test_a_loss_that_is_no_number_is_named_by_its_step(every: int, job: Callable[..., Job]) -> None:
    """The sixth step's loss is infinite; those after it are none either."""
    made = job(runtime={"log_every_steps": every})
    phase = PHASE.model_copy(update={"batch_size": 4})
    state, calls = state_of(made, phase), iter(range(1, 100))
    plain = made.criterion
    made.__dict__["criterion"] = lambda *given: plain(*given) * (math.inf if next(calls) == 6 else 1.0)
    saved: list[int] = []
    with pytest.raises(TrainingError, match=r"The loss became inf in epoch 1, batch 6\. .*phases\.0\.lr=0\.0001"):
        loop.train_epoch(state, made, phase, save=lambda: saved.append(1))
    assert not saved


def test_nothing_is_saved_before_its_losses_are_read(job: Callable[..., Job]) -> None:
    made = job(runtime={"log_every_steps": 100, "checkpoint_seconds": 1e-9})
    phase = PHASE.model_copy(update={"batch_size": 4})
    state = state_of(made, phase)
    unread: list[int] = []
    assert loop.train_epoch(state, made, phase, save=lambda: unread.append(len(state.unread)))
    assert unread == [0] * 8


def test_the_moving_average_is_torchs() -> None:
    torch.manual_seed(0)
    convolution, norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
    network = nn.Sequential(convolution, norm)
    ours = MovingAverage(network, 0.9)
    theirs = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)
    for step in range(5):
        network(torch.randn(2, 3, 8, 8))
        with torch.no_grad():
            convolution.weight.add_(0.1)
        ours.update(network, first=step == 0)
        theirs.update_parameters(network)
    for name, value in theirs.module.state_dict().items():
        if value.is_floating_point():
            assert torch.equal(ours.module.state_dict()[name], value), name
    assert int(ours.module.state_dict()["1.num_batches_tracked"]) == 5


def test_torchs_functions_are_looked_at_only_where_that_helps() -> None:
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert isinstance(fast_depthwise_gradients(device=cpu, precision="bf16"), FastDepthwiseGradients)
    for device, precision in ((cpu, "32"), (cuda, "bf16"), (cuda, "32")):
        assert not isinstance(fast_depthwise_gradients(device=device, precision=precision), FastDepthwiseGradients)


def test_a_small_copy_to_a_gpu_goes_through_pinned_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    from linnaeus import machine

    sent: list[tuple[str, bool]] = []

    class Values:
        def pin_memory(self) -> Values:
            sent.append(("pinned", True))
            return self

        def to(self, device: torch.device, non_blocking: bool = False) -> Values:
            sent.append((device.type, non_blocking))
            return self

    for device in ("cuda", "mps", "cpu"):
        machine.send_to(Values(), torch.device(device))  # type: ignore[arg-type]
    assert sent == [("pinned", True), ("cuda", True), ("mps", False), ("cpu", False)]
