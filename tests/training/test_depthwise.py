"""Gradients of depthwise convolutions on a processor: the same output to the bit, gradients nearer the truth."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from linnaeus.training.depthwise import FastDepthwiseGradients


def pass_through(
    layer: nn.Conv2d, images: torch.Tensor, *, fast: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
    """The output under bfloat16 autocast, and the gradients of images, weight and bias."""
    images = images.clone().requires_grad_()
    layer.zero_grad(set_to_none=True)
    with torch.autocast("cpu", torch.bfloat16):
        if fast:
            with FastDepthwiseGradients():
                output = layer(images)
        else:
            output = layer(images)
    (output.float() * torch.linspace(-1, 1, output.numel()).reshape(output.shape)).sum().backward()
    assert images.grad is not None and layer.weight.grad is not None
    return output.detach(), images.grad, layer.weight.grad, None if layer.bias is None else layer.bias.grad


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation"), [(3, 1, 1, 1), (5, 2, 2, 1), (3, 2, 0, 1), (3, 1, 2, 2)]
)
def test_output_is_the_same_and_gradients_are_those_of_float32(
    kernel: int, stride: int, padding: int, dilation: int, bias: bool
) -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(8, 8, kernel, stride, padding, dilation, groups=8, bias=bias)
    # Numbers that bfloat16 holds exactly, so that float32 shows what the gradients are.
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(parameter.bfloat16().float())
    images = torch.randn(4, 8, 13, 11).bfloat16().float()
    plain, fast = (pass_through(layer, images, fast=fast) for fast in (False, True))
    assert torch.equal(plain[0], fast[0]) and fast[0].dtype == torch.bfloat16

    truth_images = images.clone().requires_grad_()
    layer.zero_grad(set_to_none=True)
    output = layer(truth_images)
    weights = torch.linspace(-1, 1, output.numel()).reshape(output.shape).bfloat16().float()
    (output * weights).sum().backward()
    truth = (truth_images.grad, layer.weight.grad, None if layer.bias is None else layer.bias.grad)
    for got, expected in zip(fast[1:], truth, strict=True):
        if expected is None:
            assert got is None
        else:
            assert got is not None and got.dtype == torch.float32
            torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


def test_other_layers_and_float32_pass_by_untouched() -> None:
    images = torch.randn(2, 8, 9, 9)
    for layer in (nn.Conv2d(8, 8, 3, groups=2), nn.Conv2d(8, 4, 3), nn.Conv2d(8, 8, 3, groups=8)):
        with FastDepthwiseGradients():
            output = layer(images)
        assert torch.equal(output, layer(images))
        assert output.grad_fn is not None and "Convolution" in output.grad_fn.name()


def test_a_frozen_layer_still_hands_the_gradient_on() -> None:
    layer = nn.Conv2d(8, 8, 3, groups=8).requires_grad_(False)
    images = torch.randn(2, 8, 9, 9, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16), FastDepthwiseGradients():
        layer(images).float().sum().backward()
    assert images.grad is not None and layer.weight.grad is None
