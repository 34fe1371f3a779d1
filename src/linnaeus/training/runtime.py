"""Device, precision and processes. The only module that builds a Fabric."""

from __future__ import annotations

import logging
import platform
import warnings
from dataclasses import dataclass
from importlib.metadata import version as package_version

import torch
from lightning_fabric import Fabric
from lightning_fabric.wrappers import _FabricModule as FabricModule

from linnaeus.config.settings import RuntimeConfig
from linnaeus.errors import DeviceError
from linnaeus.machine import choose_device, choose_precision, keep_freed_memory, usable_cores

__all__ = ["FabricModule", "Runtime", "describe_environment", "start_runtime"]


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
    if name == "cpu":
        keep_freed_memory()
    precision, why = choose_precision(config.precision, name)
    torch.set_num_threads(config.threads or max(1, usable_cores() // (config.devices if name == "cpu" else 1)))
    if name == "cuda" and config.devices > torch.cuda.device_count():
        raise DeviceError(
            f"{config.devices} CUDA devices were asked for; this machine has {torch.cuda.device_count()}. "
            "Set --set runtime.devices to fewer."
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Fabric's hints about clusters are not for our users
        for logger in ("lightning.fabric", "lightning_fabric"):
            logging.getLogger(logger).setLevel(logging.WARNING)
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
