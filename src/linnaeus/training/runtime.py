"""Device, precision and processes. The only module that builds a Fabric."""

from __future__ import annotations

import atexit
import logging
import platform
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from importlib.metadata import version as package_version
from typing import TypeVar, cast

import numpy as np
import numpy.typing as npt
import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from lightning_fabric.wrappers import _FabricModule as FabricModule
from torch import nn

from linnaeus.config.settings import RuntimeConfig
from linnaeus.errors import DeviceError
from linnaeus.machine import choose_device, choose_precision, keep_freed_memory, usable_cores

__all__ = ["FabricModule", "Runtime", "describe_environment", "start_runtime"]

T = TypeVar("T")
PATIENCE = timedelta(days=7)
"""How long processes wait for each other. The first of them reads, decodes, and judges alone, which may take hours; one
that has died is noticed at once, and not by the clock."""


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

    @property
    def num_processes(self) -> int:
        """Processes that train together."""
        return self.fabric.world_size

    @property
    def is_main(self) -> bool:
        """Whether this process is the one that writes."""
        return self.fabric.is_global_zero

    def any_process(self, here: Sequence[bool]) -> list[bool]:
        """For each question whether any process says yes; all of them must go on in the same way."""
        if self.num_processes == 1:
            return list(here)
        flags = torch.tensor([float(each) for each in here], device=self.device)
        return [bool(flag) for flag in self._reduce(flags, "max").tolist()]

    def least(self, here: int) -> int:
        """The least of the processes' numbers, each within 32 bits."""
        if self.num_processes == 1:
            return here
        return int(self._reduce(torch.tensor(here, device=self.device), "min"))

    def sums(self, here: Sequence[float]) -> list[float]:
        """Each number added up over the processes."""
        if self.num_processes == 1:  # nothing goes to the device, which may not know float64
            return list(here)
        return self._reduce(torch.tensor(here, dtype=torch.float64, device=self.device), "sum").tolist()

    def _reduce(self, values: torch.Tensor, how: str) -> torch.Tensor:
        reduced = self.fabric.all_reduce(values, reduce_op=how)
        assert isinstance(reduced, torch.Tensor)
        return reduced

    def own_rows(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Every `num_processes`-th of the rows, from this process's rank on; the same number on every process, for
        which the first rows are repeated.
        """
        per_process = -(-len(rows) // self.num_processes)
        return np.resize(rows, per_process * self.num_processes)[self.fabric.global_rank :: self.num_processes]

    def gather_rows(self, values: npt.NDArray[np.float32], *, num_rows: int) -> npt.NDArray[np.float32]:
        """float32 [num_rows, K] on every process, in the order of the rows, from the values of `own_rows`."""
        if self.num_processes == 1:
            return values
        own = torch.from_numpy(np.ascontiguousarray(values)).to(self.device)
        parts = [torch.empty_like(own) for _ in range(self.num_processes)]
        torch.distributed.all_gather(parts, own)
        joined: npt.NDArray[np.float32] = torch.stack(parts, dim=1).flatten(0, 1)[:num_rows].cpu().numpy()
        return joined

    def broadcast_statistics(self, module: nn.Module) -> None:
        """Give every process the main process's batch-norm statistics: each has seen images of its own."""
        if self.num_processes > 1:
            for buffer in module.buffers():
                torch.distributed.broadcast(buffer, src=0)

    def on_main(self, work: Callable[[], T]) -> T:
        """Do something on the main process while the others wait, and give all of them its result.

        Where it fails, the others end without a word.
        """
        if self.is_main:
            try:
                result = work()
            except BaseException:
                self.fabric.broadcast((False, None))
                raise
            self.fabric.broadcast((True, result))
            return result
        succeeded, received = self.fabric.broadcast((False, None))
        if not succeeded:
            raise SystemExit(0)  # another code would make Fabric kill the main process, which has something to say
        return cast(T, received)

    def alone(self, module: nn.Module) -> FabricModule:
        """The module at the chosen precision, for this process only: nothing is exchanged with others."""
        return FabricModule(module, self.fabric.strategy)


def _leave_group() -> None:
    """Leave the process group before the interpreter ends: threads of gloo that are still there then abort the process,
    now and then ("terminate called without an active exception").
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


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
            strategy=DDPStrategy(timeout=PATIENCE) if config.devices > 1 else "auto",
            precision="bf16-mixed" if precision == "bf16" else "32-true",
        )
        fabric.launch()
    atexit.unregister(_leave_group)  # once, however many runs a process starts
    atexit.register(_leave_group)
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
