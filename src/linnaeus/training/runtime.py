"""Device, precision and processes. The only module that builds a Fabric."""

from __future__ import annotations

import logging
import os
import platform
import warnings
from dataclasses import dataclass
from importlib.metadata import version as package_version

import torch
from lightning_fabric import Fabric

from linnaeus.config import RuntimeConfig
from linnaeus.errors import DeviceError

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Runtime:
    """Where and how a network runs.

    Attributes:
        fabric: Lightning's launcher and autocast; wraps models and optimizers.
        device: of this process.
        precision: "32" or "bf16" (autocast over float32 weights).
        reason: why that device and precision, in a sentence.
    """

    fabric: Fabric
    device: torch.device
    precision: str
    reason: str


def start_runtime(config: RuntimeConfig) -> Runtime:
    """Choose device and precision, set the number of threads, and start the other processes if several are asked for.

    Raises DeviceError if the device is not there.
    """
    name = choose_device(config.device)
    precision, why = choose_precision(config.precision, name)
    torch.set_num_threads(config.threads or max(1, usable_cores() // (config.devices if name == "cpu" else 1)))
    if name == "cuda" and config.devices > torch.cuda.device_count():
        raise DeviceError(
            f"{config.devices} CUDA devices were asked for; this machine has {torch.cuda.device_count()}. "
            "Set --set runtime.devices to fewer."
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Fabric's hints about clusters are not for our users
        logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
        fabric = Fabric(
            accelerator=name,
            devices=config.devices,
            precision="bf16-mixed" if precision == "bf16" else "32-true",
        )
        fabric.launch()
    if name == "cuda":
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.benchmark = True
    return Runtime(fabric, fabric.device, precision, f"{name}, {precision}: {why}")


def choose_device(wanted: str) -> str:
    """ "auto" takes CUDA, then Apple's MPS, then the processor; a named device that is not there is a DeviceError."""
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if wanted == "auto":
        return next(name for name in ("cuda", "mps", "cpu") if available[name])
    if not available[wanted]:
        there = ", ".join(name for name, present in available.items() if present)
        raise DeviceError(f"There is no device '{wanted}' that PyTorch can use on this machine. It has: {there}.")
    return wanted


def choose_precision(wanted: str, device: str) -> tuple[str, str]:
    """("32" or "bf16", reason). "auto" takes bfloat16 only where the hardware multiplies in it."""
    if wanted != "auto":
        return wanted, "as asked"
    if device == "cuda":
        native = torch.cuda.get_device_capability() >= (8, 0)
        return ("bf16", "the GPU computes in bfloat16") if native else ("32", "the GPU has no bfloat16 units")
    if device == "mps":
        return "32", "float32 on Apple GPUs"
    capabilities = torch.cpu.get_capabilities()
    for flag, words in (("amx_bf16", "AMX"), ("avx512_bf16", "AVX512-BF16"), ("bf16", "Arm BF16")):
        if capabilities.get(flag):
            return "bf16", f"the processor computes in bfloat16 ({words})"
    return "32", "the processor has no bfloat16 units"


def usable_cores() -> int:
    """Cores this process may run on, which on a cluster are fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def describe_environment(runtime: Runtime) -> dict[str, str]:
    """Versions and hardware, for the report and the bundle."""
    processor = torch.cpu.get_capabilities().get("cpu_name") or platform.processor() or platform.machine()
    hardware = torch.cuda.get_device_name(runtime.device) if runtime.device.type == "cuda" else str(processor)
    return {
        "linnaeus": package_version("linnaeus"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "system": f"{platform.system()} {platform.machine()}",
        "device": f"{runtime.device.type}: {hardware}",
        "precision": runtime.precision,
        "threads": str(torch.get_num_threads()),
        "processes": str(runtime.fabric.world_size),
    }
