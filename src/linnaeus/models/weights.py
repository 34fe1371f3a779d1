"""Pretrained weights: where they are, what is in the file, and how they get into a backbone. Never the network unasked.

Files of timm, torchvision, Hugging Face's transformers and EfficientNet-PyTorch are understood, stored in any floating
type. Knows nothing of heads: those in a file are left out.
"""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import safetensors
import torch
from safetensors.torch import load_file
from torch import nn

from linnaeus.errors import ModelError, WeightsNotFoundError
from linnaeus.models.backbones import adapt_input_channels, bodies, hub_repository
from linnaeus.models.packaged import PACKAGED, check_packaged, describe_packaged, from_lite, packaged_weights
from linnaeus.models.transformers_names import State, from_transformers_resnet, from_transformers_vit

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")
_WRAPPERS = ("state_dict", "model", "state_dict_ema", "model_ema", "model_state")
_HEADS = ("fc.", "classifier.", "head.", "head_dist.", "last_linear.", "classif.", "pre_logits.")
_EXAMPLES = 4


@dataclass(frozen=True)
class WeightsReport:
    """What was loaded.

    Attributes:
        source: the file, or the folder that held a file for each of several backbones.
        sha256: of everything that was loaded, 16 hex digits.
        num_loaded: tensors that found their place.
        ignored_heads: names of the file's own classification layers.
        unexpected: names that nothing in the backbone answers to.
        notes: sentences on what had to be adapted.
        origins: where packaged weights come from and their licence, one sentence for each backbone that has them.
    """

    source: Path
    sha256: str
    num_loaded: int
    ignored_heads: tuple[str, ...]
    unexpected: tuple[str, ...]
    notes: tuple[str, ...]
    origins: tuple[str, ...] = ()

    def describe(self) -> list[str]:
        """Sentences for people."""
        lines = [f"Pretrained weights: {self.num_loaded} tensors from {self.source}", *self.notes]
        if self.unexpected:
            lines.append(f"  {len(self.unexpected)} tensors of that file belong to nothing: {_some(self.unexpected)}")
        return lines


def load_pretrained(backbone: nn.Module, *, name: str, weights: str, allow_download: bool) -> WeightsReport:
    """Put pretrained weights into a backbone, or into each of several joined by "+".

    Args:
        backbone: as `build_classifier` made it.
        name: of the architecture.
        weights: a file, a folder with NAME.safetensors (or .pth, .pt, .bin), or "auto" for the packaged ones and the
            hub's cache.
        allow_download: fetch them from the hub where they are not in its cache.

    Raises WeightsNotFoundError if there are none, ModelError if a file does not fit.
    """
    reports = []
    for each, (_, body) in zip(name.split("+"), bodies(backbone).items(), strict=True):
        reports.append(load_weights(body, find_weights(each, weights, allow_download=allow_download), name=each))
    if len(reports) == 1:
        return reports[0]
    return WeightsReport(
        source=reports[0].source.parent if weights != "auto" else Path("auto"),
        sha256=hashlib.sha256("".join(report.sha256 for report in reports).encode()).hexdigest()[:16],
        num_loaded=sum(report.num_loaded for report in reports),
        ignored_heads=tuple(key for report in reports for key in report.ignored_heads),
        unexpected=tuple(key for report in reports for key in report.unexpected),
        notes=tuple(note for report in reports for note in report.notes),
        origins=tuple(origin for report in reports for origin in report.origins),
    )


def find_weights(name: str, weights: str, *, allow_download: bool = False) -> Path:
    """The file of pretrained weights of an architecture.

    Under "auto" the packaged file comes before the hub's cache: it is float32 as published and the same on every
    machine, while a cache may hold any revision, or a copy in half precision that someone put there.

    Raises WeightsNotFoundError, which says where it looked, and ModelError for a packaged file that was changed.
    """
    if weights != "auto":
        path = Path(weights).expanduser()
        if path.is_file():
            return path
        if not path.is_dir():
            raise WeightsNotFoundError(f"There are no weights at {path}: no such file or folder.")
        stem = name.partition(".")[0]
        for file in (path / f"{candidate}{suffix}" for candidate in (name, stem) for suffix in SUFFIXES):
            if file.is_file():
                return file
        only = [file for file in sorted(path.iterdir()) if file.name in ("model.safetensors", "pytorch_model.bin")]
        if len(only) >= 1:
            return only[0]
        there = ", ".join(sorted(file.name for file in path.iterdir() if file.suffix in SUFFIXES)[:6])
        raise WeightsNotFoundError(f"{path} holds no {stem}.safetensors. Weights there: {there or 'none'}.")
    packaged = packaged_weights(name)
    if packaged is not None:
        check_packaged(name, packaged)
        return packaged
    cached = cached_weights(name)
    if cached is not None:
        return cached
    if allow_download:
        return _download(name)
    package = f"the package {PACKAGED[name].distribution} is not installed, and " if name in PACKAGED else ""
    raise WeightsNotFoundError(
        f"There are no pretrained weights of {name} on this machine: {package}they are not in the hub's cache. Name a "
        "file or folder with --weights, let them be fetched with --allow-download, or start from random ones with "
        "--weights none: on a few thousand photos that costs tens of points of accuracy."
    )


def cached_weights(name: str) -> Path | None:
    """The hub's copy of an architecture's weights on this machine."""
    from huggingface_hub import try_to_load_from_cache  # takes a moment to import

    repository = hub_repository(name)
    if repository is None:
        return None
    for file in ("model.safetensors", "pytorch_model.bin"):
        found = try_to_load_from_cache(repository, file)
        if isinstance(found, str):
            return Path(found)
    return None


def _download(name: str) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    repository = hub_repository(name)
    if not repository:
        raise WeightsNotFoundError(f"Nobody has published weights of {name} on the hub. Take another architecture.")
    try:
        return Path(hf_hub_download(repository, "model.safetensors"))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise WeightsNotFoundError(
            f"The weights of {name} could not be fetched from the hub ({type(error).__name__}). Without a network, "
            "copy them here and name them with --weights."
        ) from error


def read_state(path: Path) -> State:
    """The tensors of a weights file, by name. No code in it is run.

    Raises ModelError if it is damaged, is no weights file, or holds anything but tensors.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, safetensors.SafetensorError, RuntimeError, EOFError, ValueError) as error:
        raise ModelError(f"The weights {path} cannot be read: {_first_line(error)}") from error
    except Exception as error:
        if type(error).__name__ != "UnpicklingError":  # of the module pickle, which nothing here may import
            raise
        raise ModelError(
            f"{path} holds more than weights and could run code when read, so it is refused. Save it as .safetensors "
            "where it comes from."
        ) from error
    for wrapper in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
            break
    state = {k: v for k, v in content.items() if torch.is_tensor(v)} if isinstance(content, Mapping) else {}
    if not state:
        raise ModelError(f"{path} holds no named weights.")
    return state


def load_weights(body: nn.Module, path: Path, *, name: str) -> WeightsReport:
    """Put the weights of a file into one timm network without a classification layer.

    Raises ModelError, which names keys of both sides, if the file belongs to another architecture.
    """
    stored = read_state(path)
    own = body.state_dict()
    layouts = list(_layouts(stored, body))
    state = max(layouts, key=lambda layout: _num_fitting(layout, own))
    notes: list[str] = []
    state = _adapt_first_layer(state, own, notes)
    missing = [key for key in own if key not in state and not key.endswith("num_batches_tracked")]
    shapes = [key for key in own if key in state and state[key].shape != own[key].shape]
    if missing or shapes:
        raise ModelError(_misfit(path, name, own, state, missing, shapes))
    body.load_state_dict({key: state.get(key, own[key]).to(own[key].dtype) for key in own})
    left = [key for key in state if key not in own]
    heads = tuple(key for key in left if key.startswith(_HEADS))
    unexpected = tuple(key for key in left if not key.startswith(_HEADS) and not key.endswith("num_batches_tracked"))
    loaded = {key: state[key] for key in own if key in state}
    origin = describe_packaged(name, path)
    origins = () if origin is None else (origin,)
    return WeightsReport(path, _digest(loaded), len(loaded), heads, unexpected, tuple(notes), origins)


def _layouts(stored: State, body: nn.Module) -> Iterable[State]:
    """The file's tensors under every set of names that they may be meant by."""
    own = body.state_dict()

    def in_order(state: State) -> State:
        return from_lite(state, own)

    for state in (stored, *_without_prefixes(stored)):
        yield state
        for rename in (_timm_filter(body), from_transformers_resnet, from_transformers_vit, in_order):
            try:
                renamed = rename(dict(state))
            except (KeyError, RuntimeError, IndexError, AttributeError, TypeError, ValueError, AssertionError):
                continue  # written for another layout
            if renamed:
                yield renamed


def _without_prefixes(state: State) -> Iterable[State]:
    """Without each first word that names share, such as `module.`; twice, for `module.backbone.`."""
    for prefix in sorted({key.partition(".")[0] + "." for key in state}):
        shorter = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
        if 2 * len(shorter) >= len(state):
            yield shorter
            yield from _without_prefixes(shorter)


def _timm_filter(body: nn.Module) -> Callable[[State], State]:
    """timm's own translation of other layouts for this architecture, where it has one."""
    module = sys.modules[type(body).__module__]
    translate = getattr(module, "checkpoint_filter_fn", None) or getattr(module, "_filter_fn", None)
    if not callable(translate):
        return lambda state: {}
    arguments = (body,) if len(inspect.signature(translate).parameters) > 1 else ()
    return lambda state: dict(translate(state, *arguments))


def _num_fitting(state: State, own: State) -> int:
    return sum(key in state and state[key].shape == value.shape for key, value in own.items())


def _adapt_first_layer(state: State, own: State, notes: list[str]) -> State:
    """Where only the number of input channels differs: sum to grey, or repeat, as timm's adapt_input_conv does."""
    for key, wanted in own.items():
        found = state.get(key)
        if found is None or found.shape == wanted.shape or wanted.ndim != 4 or found.ndim != 4:
            continue
        if found.shape[0] != wanted.shape[0] or found.shape[2:] != wanted.shape[2:]:
            continue
        channels, theirs = wanted.shape[1], found.shape[1]
        if theirs != 3:
            continue
        adapted = adapt_input_channels(found.float(), channels)
        notes.append(f"  {key}: made for 3 input channels, adapted to {channels} by summing or repeating them")
        return {**state, key: adapted}
    return state


def _misfit(path: Path, name: str, own: State, state: State, missing: list[str], shapes: list[str]) -> str:
    fitting = _num_fitting(state, own)
    parts = [f"The weights {path} do not fit {name}: {fitting} of its {len(own)} tensors are in the file."]
    if missing:
        parts.append(f"{len(missing)} are missing, such as {_some(missing)};")
    if shapes:
        key = shapes[0]
        parts.append(
            f"{len(shapes)} have another shape, such as {key} {tuple(state[key].shape)} for {tuple(own[key].shape)};"
        )
    strange = [key for key in state if key not in own]
    if strange:
        parts.append(f"the file has {len(strange)} others, such as {_some(strange)}.")
    return " ".join(parts) + " Name the architecture that they belong to with --backbone."


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    return ", ".join(listed[:_EXAMPLES]) + (" ..." if len(listed) > _EXAMPLES else "")


def _digest(state: State) -> str:
    digest = hashlib.sha256()
    for key in sorted(state):
        digest.update(key.encode())
        digest.update(state[key].detach().contiguous().cpu().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
