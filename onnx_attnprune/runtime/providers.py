"""Execution providers: which ones there are, what they are called, and what their kernels like."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from onnx_attnprune.errors import ProviderError, SettingsError


@dataclass(frozen=True)
class Provider:
    """What ONNX Runtime calls a provider, where to get it, and what it takes to run on it.

    multiple: of channels that its kernels like. device: where the tensors of a run lie. beside: providers (short names)
    that take what this one leaves, before the CPU does. threads_option: its own option for a number of threads, where
    it has none of ONNX Runtime's.
    """

    ort_name: str
    source: str
    multiple: int = 8
    device: str = "cpu"
    beside: tuple[str, ...] = ()
    threads_option: str | None = None


PROVIDERS: Mapping[str, Provider] = {
    "cpu": Provider("CPUExecutionProvider", "pip install onnxruntime"),
    # Tensor cores take half precision operands in multiples of 8 channels; so do the NPUs below.
    "cuda": Provider("CUDAExecutionProvider", "pip install onnxruntime-gpu", device="cuda"),
    "tensorrt": Provider("TensorrtExecutionProvider", "pip install onnxruntime-gpu", device="cuda", beside=("cuda",)),
    "openvino": Provider(
        "OpenVINOExecutionProvider", "pip install onnxruntime-openvino", threads_option="num_of_threads"
    ),
    "coreml": Provider("CoreMLExecutionProvider", "pip install onnxruntime on macOS"),
    "dml": Provider("DmlExecutionProvider", "pip install onnxruntime-directml on Windows"),
    "xnnpack": Provider("XnnpackExecutionProvider", "no pip package has it; build ONNX Runtime with --use_xnnpack"),
    "qnn": Provider("QNNExecutionProvider", "pip install onnxruntime-qnn"),
    "nnapi": Provider("NnapiExecutionProvider", "no pip package has it; it is in onnxruntime-android"),
}


def version() -> str:
    """The version of ONNX Runtime."""
    import onnxruntime as ort

    return str(ort.__version__)


def available_providers() -> tuple[str, ...]:
    """The short names ("cpu", "cuda", ...) of the providers that this build of ONNX Runtime has, "cpu" first."""
    import onnxruntime as ort

    there = set(ort.get_available_providers())
    return tuple(name for name, provider in PROVIDERS.items() if provider.ort_name in there)


def resolve_provider(name: str) -> str:
    """ONNX Runtime's name of the provider with the short name `name`.

    Raises SettingsError for a name that means nothing, ProviderError for a provider that this build lacks.
    """
    provider = known_provider(name)
    there = available_providers()
    if name not in there:
        raise ProviderError(
            f"this build of ONNX Runtime has no {name} provider ({provider.source}); it has: {', '.join(there)}"
        )
    return provider.ort_name


def preferred_multiple(provider: str) -> int:
    """The multiple of channels that the fast kernels of `provider` (a short name) like on this machine.

    On the CPU it is the block of the NCHWc layout, in which ONNX Runtime runs float convolutions: MLAS sets
    `NchwcBlockSize` in `onnxruntime/core/mlas/lib/platform.cpp` to 16 with AVX-512F and to 8 below. Measured with
    1.32: a convolution stays in that layout when its input channels are a multiple of 4 (or fewer than a block),
    a depthwise one at a multiple of 4, a grouped one only at whole blocks a group; output channels never matter. But
    every count is padded up to whole blocks, so that only whole blocks save time. Where there is no such layout
    (Arm, by default) 8 still fills the tiles of the matrix product. Other providers: 8.

    Raises SettingsError for an unknown name. Needs neither ONNX Runtime nor the provider.
    """
    if provider != "cpu":
        return known_provider(provider).multiple
    cpuinfo = Path("/proc/cpuinfo")  # Linux only; elsewhere the smaller block is the safe answer
    return block_of_cpu(cpuinfo.read_text(errors="replace")) if cpuinfo.is_file() else 8


def block_of_cpu(cpuinfo: str) -> int:
    """The NCHWc block for the text of /proc/cpuinfo: 16 where a `flags` line has avx512f, else 8."""
    for line in cpuinfo.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "flags":
            return 16 if "avx512f" in value.split() else 8
    return 8


def known_provider(name: str) -> Provider:
    """A provider by its short name. Raises SettingsError for a name that means nothing."""
    if name not in PROVIDERS:
        raise SettingsError(f"no provider is called {name!r}; choose from: {', '.join(PROVIDERS)}")
    return PROVIDERS[name]


def short_name(ort_name: str) -> str:
    """The short name of what ONNX Runtime calls a provider; its own name where there is none."""
    return next((name for name, provider in PROVIDERS.items() if provider.ort_name == ort_name), ort_name)


def chain_of(name: str, threads: int) -> list[tuple[str, dict[str, str]]]:
    """The providers that a session on `name` is given, in order, each with its options.

    Raises SettingsError and ProviderError as `resolve_provider`.
    """
    first = (resolve_provider(name), _options(known_provider(name), threads))
    there = available_providers()
    rest = [other for other in (*known_provider(name).beside, "cpu") if other in there and other != name]
    return [first, *((PROVIDERS[other].ort_name, {}) for other in rest)]


def _options(provider: Provider, threads: int) -> dict[str, str]:
    return {provider.threads_option: str(threads)} if provider.threads_option and threads else {}
