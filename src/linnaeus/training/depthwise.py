"""Depthwise convolutions under bfloat16 autocast on a processor: forward as ever, gradients in float32.

oneDNN has fast bfloat16 kernels for their forward pass, but for the gradients of strided ones and of 5x5 ones it falls
back to plain loops, which took half the time of fine-tuning an EfficientNet. In float32 it has fast kernels for them
too; `benchmarks/depthwise.py` measures the difference. Beside the loop; knows nothing of models: any call of
`torch.nn.functional.conv2d` within the block is looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch.autograd.function import once_differentiable
from torch.overrides import TorchFunctionMode

Pair = tuple[int, int]


def fast_depthwise_gradients(*, device: torch.device, precision: str) -> AbstractContextManager[Any]:
    """`FastDepthwiseGradients` where they are faster: on a processor in bfloat16. Elsewhere nothing
    comes between a call and torch's function.
    """
    return FastDepthwiseGradients() if device.type == "cpu" and precision == "bf16" else nullcontext()


class FastDepthwiseGradients(TorchFunctionMode):
    """A context in which depthwise convolutions under bfloat16 autocast on a processor have gradients from float32.

    Everything else, and everything on other devices or in float32, runs as outside. Outputs are the same bits;
    gradients differ from those outside by what bfloat16 had rounded away.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Every torch function called within the block comes by here."""
        if func is torch.conv2d and not kwargs and len(args) == 7 and _is_slow(*args):
            images, weight, bias, stride, padding, dilation, groups = args
            return _Depthwise.apply(images, weight, bias, _pair(stride), _pair(padding), _pair(dilation), groups)
        return func(*args, **(kwargs or {}))


def _is_slow(
    images: torch.Tensor, weight: torch.Tensor, bias: Any, stride: Any, padding: Any, dilation: Any, groups: int
) -> bool:
    return (
        groups > 1
        and weight.shape[1] == 1
        and images.device.type == "cpu"
        and not isinstance(padding, str)
        and torch.is_grad_enabled()
        and torch.is_autocast_enabled("cpu")
        and torch.get_autocast_dtype("cpu") == torch.bfloat16
    )


def _pair(value: int | Iterable[int]) -> Pair:
    if isinstance(value, int):
        return value, value
    height, width = value
    return height, width


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        images: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        stride: Pair,
        padding: Pair,
        dilation: Pair,
        groups: int,
    ) -> torch.Tensor:
        images_low = images.to(torch.bfloat16)
        ctx.save_for_backward(images_low, weight)
        ctx.geometry = (stride, padding, dilation, groups)
        ctx.dtypes = (images.dtype, None if bias is None else bias.dtype)
        low = None if bias is None else bias.to(torch.bfloat16)
        return torch.conv2d(images_low, weight.to(torch.bfloat16), low, stride, padding, dilation, groups)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        images, weight = ctx.saved_tensors
        stride, padding, dilation, groups = ctx.geometry
        images_dtype, bias_dtype = ctx.dtypes
        wanted = [ctx.needs_input_grad[0], ctx.needs_input_grad[1], bias_dtype is not None and ctx.needs_input_grad[2]]
        of_images, of_weight, of_bias = torch.ops.aten.convolution_backward(
            gradient.float(),
            images.float(),
            weight.float(),
            None if bias_dtype is None else [len(weight)],
            stride,
            padding,
            dilation,
            False,
            [0, 0],
            groups,
            wanted,
        )
        return (
            of_images.to(images_dtype) if wanted[0] else None,
            of_weight.to(weight.dtype) if wanted[1] else None,
            of_bias.to(bias_dtype) if wanted[2] else None,
            None,
            None,
            None,
            None,
        )
