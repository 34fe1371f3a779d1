"""The machine: which device, which precision, how many cores. Asked at run time, never at import."""

from __future__ import annotations

import ctypes
import os
import sys

import torch

from linnaeus.errors import DeviceError


def choose_device(wanted: str) -> str:
    """Return "cuda", "mps" or "cpu"; "auto" takes the first of these that is there.

    Raises DeviceError for a device that PyTorch cannot use here, or does not know.
    """
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if wanted == "auto":
        return next(name for name in ("cuda", "mps", "cpu") if available[name])
    if not available.get(wanted):
        there = ", ".join(name for name, present in available.items() if present)
        raise DeviceError(f"There is no device '{wanted}' that PyTorch can use on this machine. It has: {there}.")
    return wanted


def choose_precision(wanted: str, device: str) -> tuple[str, str]:
    """Return ("32" or "bf16", reason). "auto" takes bfloat16 only where the hardware multiplies in it."""
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


def is_main_process() -> bool:
    """Whether this process is the one that writes and prints, among several started for one run."""
    for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK"):
        if name in os.environ:
            return os.environ[name] == "0"
    return True


def usable_cores() -> int:
    """Cores this process may run on, which on a cluster are fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def send_to(values: torch.Tensor, device: torch.device) -> torch.Tensor:
    """The values, which lie in host memory, on `device`, without waiting for it.

    A copy from ordinary memory to a GPU makes the host wait until the GPU has done all that came before; one from
    pinned memory does not.
    """
    if device.type != "cuda":
        return values.to(device)
    return values.pin_memory().to(device, non_blocking=True)


def keep_freed_memory() -> None:
    """Let the C library keep freed memory for the next batch, where it is glibc.

    By default it returns every large block to the system, and the system clears each page again when the next batch
    asks for it: a tenth of the time of training a small network on a processor. docs/benchmarks.md has the figures.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # another C library
        return
    trim_threshold, mmap_max = -1, -4  # M_TRIM_THRESHOLD, M_MMAP_MAX of malloc.h
    mallopt(trim_threshold, 2**31 - 1)
    mallopt(mmap_max, 0)
