"""What a phase trains: which part of the classifier, which of its parameters, and in which mode.

Between configuration and THE loop. Knows nothing of batches, losses or files.
"""

from __future__ import annotations

import copy

import torch
from torch import nn

from linnaeus.config.settings import PhaseConfig, RunConfig
from linnaeus.models.classifier import Classifier


def on_features(config: RunConfig, phase: PhaseConfig) -> bool:
    """Whether the phase sees features that are computed once, instead of images.

    It does where it leaves the backbone as it is, unless dropout of its feature maps makes them differ every time.
    """
    return phase.train == "head" and not config.model.head.map_dropout


def fixed_parameters(classifier: Classifier) -> frozenset[str]:
    """Names of the parameters that the architecture itself never trains; to be asked before the first phase."""
    return frozenset(name for name, parameter in classifier.named_parameters() if not parameter.requires_grad)


def set_trainable(classifier: Classifier, phase: PhaseConfig, *, fixed: frozenset[str]) -> None:
    """Let gradients reach the phase's parameters and no others, and never those in `fixed`."""
    trained = {f"backbone.{name}" for name in _trained_names(classifier.backbone, phase)}
    for name, parameter in classifier.named_parameters():
        parameter.requires_grad_((name in trained or name.startswith("head.")) and name not in fixed)


def _trained_names(backbone: nn.Module, phase: PhaseConfig) -> set[str]:
    if phase.train == "head":
        return set()
    if phase.last_stages is None and phase.last_layers is None:
        return {name for name, _ in backbone.named_parameters()}
    from linnaeus.models.backbones import depth_groups  # takes seconds: timm

    groups = depth_groups(backbone, coarse=phase.last_layers is None)
    last = phase.last_stages if phase.last_layers is None else phase.last_layers
    assert last is not None
    return {name for group in groups[-last:] for name in group}


def depth_scales(classifier: Classifier, phase: PhaseConfig) -> dict[str, float]:
    """Factor of the learning rate of each parameter of the backbone, by name: `layer_decay` to the power of the number
    of stages above it, the head counting as one (layer-wise decay of arXiv 1906.08237, appendix A.3, over stages).
    """
    from linnaeus.models.backbones import depth_groups  # takes seconds: timm

    groups = depth_groups(classifier.backbone, coarse=True)
    return {name: phase.layer_decay ** (len(groups) - k) for k, group in enumerate(groups) for name in group}


def set_mode(model: nn.Module, phase: PhaseConfig) -> None:
    """Training mode, with the backbone's batch norm left at its statistics where the phase says so."""
    model.train()
    if phase.batch_norm == "live" and phase.train == "all":
        return
    for name, module in model.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and "backbone" in name.split("."):
            module.eval()


class MovingAverage(nn.Module):
    """The exponential moving average of a network's weights and statistics; whole numbers are those of the network.

    As torch's AveragedModel with `get_ema_multi_avg_fn`, which asks the device at every step how many there were.
    """

    def __init__(self, part: nn.Module, decay: float) -> None:
        super().__init__()
        self.module = copy.deepcopy(part)
        self.decay = decay

    @torch.no_grad()
    def update(self, part: nn.Module, *, first: bool) -> None:
        """Move towards the weights that `part` has by now; the first time, take them as they are."""
        averaged, current = self.module.state_dict(), part.state_dict()
        moving = [name for name, value in averaged.items() if value.is_floating_point() and not first]
        if moving:
            towards = [current[name] for name in moving]
            torch._foreach_lerp_([averaged[name] for name in moving], towards, 1 - self.decay)
        for name in averaged.keys() - set(moving):
            averaged[name].copy_(current[name])


def moving_average(part: nn.Module, phase: PhaseConfig) -> MovingAverage | None:
    """The moving average of the weights that the phase asks for."""
    return MovingAverage(part, phase.ema_decay).to(memory_format=torch.channels_last) if phase.ema_decay else None
