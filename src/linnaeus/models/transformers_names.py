"""Names of tensors in files of Hugging Face's transformers, as timm's networks have them."""

from __future__ import annotations

import re

import torch

State = dict[str, torch.Tensor]


def from_transformers_resnet(state: State) -> State:
    """Names of transformers' ResNetModel as timm's ResNet has them; {} for anything else."""
    if not any(key.startswith("embedder.embedder.") for key in state):
        return {}
    renamed = {}
    for key, value in state.items():
        match = re.fullmatch(r"encoder\.stages\.(\d+)\.layers\.(\d+)\.(layer\.(\d+)|shortcut)\.(\w+)\.(\w+)", key)
        if match:
            stage, block, _, number, kind, rest = match.groups()
            convolution = kind == "convolution"
            if number is None:
                inner = f"downsample.{0 if convolution else 1}"
            else:
                inner = f"{'conv' if convolution else 'bn'}{int(number) + 1}"
            renamed[f"layer{int(stage) + 1}.{block}.{inner}.{rest}"] = value
        elif key.startswith("embedder.embedder."):
            kind, rest = key.removeprefix("embedder.embedder.").split(".", 1)
            renamed[f"{'conv1' if kind == 'convolution' else 'bn1'}.{rest}"] = value
        else:
            renamed[key] = value
    return renamed


def from_transformers_vit(state: State) -> State:
    """Names of transformers' ViTModel as timm's VisionTransformer has them; {} for anything else."""
    if "embeddings.cls_token" not in state:
        return {}
    renamed = {
        "cls_token": state["embeddings.cls_token"],
        "pos_embed": state["embeddings.position_embeddings"],
        "norm.weight": state["layernorm.weight"],
        "norm.bias": state["layernorm.bias"],
    }
    for part in ("weight", "bias"):
        renamed[f"patch_embed.proj.{part}"] = state[f"embeddings.patch_embeddings.projection.{part}"]
    inner = {
        "attention.output.dense": "attn.proj",
        "intermediate.dense": "mlp.fc1",
        "output.dense": "mlp.fc2",
        "layernorm_before": "norm1",
        "layernorm_after": "norm2",
    }
    depth = 1 + max(int(key.split(".")[2]) for key in state if key.startswith("encoder.layer."))
    for k in range(depth):
        for part in ("weight", "bias"):
            theirs = f"encoder.layer.{k}."
            parts = [state[f"{theirs}attention.attention.{word}.{part}"] for word in ("query", "key", "value")]
            renamed[f"blocks.{k}.attn.qkv.{part}"] = torch.cat(parts)
            for old, new in inner.items():
                renamed[f"blocks.{k}.{new}.{part}"] = state[f"{theirs}{old}.{part}"]
    return renamed
