"""The only door to ONNX Runtime: which providers there are, sessions, and what the kernels like.

ONNX Runtime is imported inside the functions that need it, because the import alone costs 0.2 s of CPU and
`onnx-attnprune --help` must not pay for it.
"""

from __future__ import annotations

import ctypes
import enum
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from onnx_attnprune.errors import ModelError, ProviderError, SettingsError

if TYPE_CHECKING:
    import onnx

Array = NDArray[Any]

_BFLOAT16 = 16  # TensorProto.BFLOAT16, written out so that this file needs no onnx
_EXTERNAL = 1  # TensorProto.EXTERNAL
_SILENT = 4  # ONNX Runtime's FATAL: everything below reaches the user as the one line of an exception, not as a log
_LONGEST_REASON = 300  # characters; a type error of a big node lists all of its operands


@dataclass(frozen=True)
class _Provider:
    """What ONNX Runtime calls a provider, where to get it, and the channel multiple that its kernels like."""

    ort_name: str
    source: str
    multiple: int = 8


_PROVIDERS: Mapping[str, _Provider] = {
    "cpu": _Provider("CPUExecutionProvider", "pip install onnxruntime"),
    # Tensor cores take half precision operands in multiples of 8 channels; so do the NPUs below.
    "cuda": _Provider("CUDAExecutionProvider", "pip install onnxruntime-gpu"),
    "tensorrt": _Provider("TensorrtExecutionProvider", "pip install onnxruntime-gpu"),
    "openvino": _Provider("OpenVINOExecutionProvider", "pip install onnxruntime-openvino"),
    "coreml": _Provider("CoreMLExecutionProvider", "pip install onnxruntime on macOS"),
    "dml": _Provider("DmlExecutionProvider", "pip install onnxruntime-directml on Windows"),
    "xnnpack": _Provider("XnnpackExecutionProvider", "no pip package has it; build ONNX Runtime with --use_xnnpack"),
    "qnn": _Provider("QNNExecutionProvider", "pip install onnxruntime-qnn"),
    "nnapi": _Provider("NnapiExecutionProvider", "no pip package has it; it is in onnxruntime-android"),
}


def available_providers() -> tuple[str, ...]:
    """The short names ("cpu", "cuda", ...) of the providers that this build of ONNX Runtime has, "cpu" first."""
    import onnxruntime as ort

    there = set(ort.get_available_providers())
    return tuple(name for name, provider in _PROVIDERS.items() if provider.ort_name in there)


def resolve_provider(name: str) -> str:
    """ONNX Runtime's name of the provider with the short name `name`.

    Raises SettingsError for a name that means nothing, ProviderError for a provider that this build lacks.
    """
    provider = _known(name)
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
        return _known(provider).multiple
    cpuinfo = Path("/proc/cpuinfo")  # Linux only; elsewhere the smaller block is the safe answer
    return block_of_cpu(cpuinfo.read_text(errors="replace")) if cpuinfo.is_file() else 8


def block_of_cpu(cpuinfo: str) -> int:
    """The NCHWc block for the text of /proc/cpuinfo: 16 where a `flags` line has avx512f, else 8."""
    for line in cpuinfo.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "flags":
            return 16 if "avx512f" in value.split() else 8
    return 8


class Optimisation(enum.Enum):
    """What ONNX Runtime's graph optimiser may do: everything, as users run models, or nothing, as proofs need it."""

    ALL = "all"
    NONE = "none"


class Session:
    """A model that ONNX Runtime has loaded on one provider (what the provider can't run falls to the CPU).

    `model` is a path, a serialized model or a ModelProto. A model over 2 GB or with weights in external files has to
    come as a path. `threads` 0 lets ONNX Runtime choose.

    Raises ModelError when ONNX Runtime refuses the model, ProviderError when the provider is missing or can't start,
    SettingsError when `threads` is negative.
    """

    def __init__(
        self,
        model: str | Path | bytes | onnx.ModelProto,
        *,
        provider: str = "cpu",
        optimisation: Optimisation = Optimisation.ALL,
        threads: int = 0,
    ) -> None:
        if threads < 0:
            raise SettingsError(f"threads must be 0 (automatic) or positive, not {threads}")
        ort_name = resolve_provider(provider)
        self.provider = provider
        self._session = _load(_source(model), ort_name, optimisation, threads)
        if ort_name not in self._session.get_providers():
            raise ProviderError(
                f"the {provider} provider can't start on this machine (its driver or library is missing)"
            )
        self._input_types = {port.name: str(port.type) for port in self._session.get_inputs()}
        self._output_types = {port.name: str(port.type) for port in self._session.get_outputs()}

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names of the inputs that a run must be fed (initializers that are listed as inputs are not among them)."""
        return tuple(self._input_types)

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the outputs in the model's order."""
        return tuple(self._output_types)

    def run(self, feeds: Mapping[str, Array], output_names: Sequence[str] | None = None) -> dict[str, Array]:
        """The outputs by name (all, or `output_names` in that order) for one array per input.

        float16 and bfloat16 tensors keep their types (bfloat16 is that of ml_dtypes). Raises ModelError when names,
        types or shapes do not fit, when a kernel fails, or when an output is no tensor (a sequence, a map).
        """
        names = self.output_names if output_names is None else tuple(output_names)
        self._check_names(feeds, names)
        with _told_as(ModelError, "ONNX Runtime can't run the model"):
            if self._speaks_bfloat16(feeds, names):
                values = self._run_as_ort_values(feeds, names)
            else:
                values = self._session.run(list(names), dict(feeds))
        for name, value in zip(names, values, strict=True):
            if not isinstance(value, np.ndarray):
                raise ModelError(f"output {name} is no tensor but {self._output_types[name]}")
        return dict(zip(names, values, strict=True))

    def _check_names(self, feeds: Mapping[str, Array], names: Sequence[str]) -> None:
        """ONNX Runtime says this too, but as a ValueError in one version and an InvalidArgument in the next."""
        for what, given, known in (
            ("input", feeds.keys() - self._input_types, self._input_types),
            ("output", set(names) - self._output_types.keys(), self._output_types),
        ):
            if given:
                raise ModelError(f"the model has no {what} {', '.join(sorted(given))}; it has: {', '.join(known)}")
        if missing := self._input_types.keys() - feeds.keys():
            raise ModelError(f"no array for the model's input {', '.join(sorted(missing))}")

    def _speaks_bfloat16(self, feeds: Mapping[str, Array], names: Sequence[str]) -> bool:
        types = [self._input_types[name] for name in feeds] + [self._output_types[name] for name in names]
        return "tensor(bfloat16)" in types

    def _run_as_ort_values(self, feeds: Mapping[str, Array], names: Sequence[str]) -> list[Array]:
        """NumPy has no bfloat16 that ONNX Runtime knows, so such tensors pass as their raw 16 bits."""
        import onnxruntime as ort

        values = {}
        bits = {}  # an OrtValue made of a numpy array does not own the memory: hold it until the run is over
        for name, array in feeds.items():
            if self._input_types[name] == "tensor(bfloat16)":
                bits[name] = np.ascontiguousarray(_as_bfloat16(array).view(np.uint16))
                values[name] = ort.OrtValue.ortvalue_from_numpy_with_onnx_type(bits[name], _BFLOAT16)
            else:
                values[name] = ort.OrtValue.ortvalue_from_numpy(array)
        outputs = self._session.run_with_ort_values(list(names), values)
        return [_to_numpy(value) for value in outputs]


def _known(name: str) -> _Provider:
    if name not in _PROVIDERS:
        raise SettingsError(f"no provider is called {name!r}; choose from: {', '.join(_PROVIDERS)}")
    return _PROVIDERS[name]


def _source(model: str | Path | bytes | onnx.ModelProto) -> str | bytes:
    """What ONNX Runtime's constructor takes: a path that is a file, or bytes."""
    if isinstance(model, bytes):
        return model
    if isinstance(model, (str, Path)):
        if not Path(model).is_file():
            raise ModelError(f"{model}: no such file")
        return str(model)
    if any(tensor.data_location == _EXTERNAL for tensor in model.graph.initializer):
        # ONNX Runtime would look for the files in the working folder, and take a stranger of the same name.
        raise ModelError("the weights of the model are in external files: load it from its path")
    with _told_as(ModelError, "can't serialize the model (over 2 GB it must be loaded from its path)"):
        return bytes(model.SerializeToString())


def _load(source: str | bytes, ort_name: str, optimisation: Optimisation, threads: int) -> Any:
    import onnxruntime as ort

    level = ort.GraphOptimizationLevel
    options = ort.SessionOptions()
    options.log_severity_level = _SILENT
    options.intra_op_num_threads = threads
    options.graph_optimization_level = (
        level.ORT_ENABLE_ALL if optimisation is Optimisation.ALL else level.ORT_DISABLE_ALL
    )
    # Idle workers spin for a while after a run; those of one session would slow down the other one in a comparison.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    chain = list(dict.fromkeys([ort_name, "CPUExecutionProvider"]))
    with _told_as(ModelError, "ONNX Runtime can't load the model"):
        # Without enable_fallback=False a failing provider prints a banner and the session silently runs on the CPU.
        return ort.InferenceSession(source, options, providers=chain, enable_fallback=False)


def _as_bfloat16(array: Array) -> Array:
    import ml_dtypes

    if array.dtype != ml_dtypes.bfloat16:
        raise ModelError(f"the model takes bfloat16 where {array.dtype} was given")
    return array


def _to_numpy(value: Any) -> Array:
    """The array of an OrtValue, whose own `numpy()` refuses bfloat16. Outputs lie in CPU memory: none is bound."""
    if not value.is_tensor():
        raise ModelError(f"an output is no tensor but {value.data_type()}")
    if value.element_type() != _BFLOAT16:
        array: Array = value.numpy()
        return array
    import ml_dtypes

    raw = ctypes.string_at(value.data_ptr(), value.tensor_size_in_bytes())
    bits = np.frombuffer(raw, dtype=np.uint16).reshape(value.shape()).copy()  # writable, as every other output is
    narrow: Array = bits.view(ml_dtypes.bfloat16)
    return narrow


@contextmanager
def _told_as(kind: type[ModelError], what: str) -> Iterator[None]:
    """Any failure inside is raised as `kind` with the line "`what`: reason".

    ONNX Runtime's exceptions have no base but Exception, and it raises ValueError and RuntimeError too.
    """
    try:
        yield
    except kind:
        raise
    except Exception as error:
        raise kind(f"{what}: {_one_line(str(error)) or type(error).__name__}") from error


def _one_line(message: str) -> str:
    """ONNX Runtime's message without its codes and places in its own source, in one line of bearable length."""
    text = re.sub(r"\[ONNXRuntimeError\] : \d+ : \w+ : ", "", message)
    text = re.sub(r"\S*/onnxruntime\S*\.(?:cc|h):\d+ (?:.*?\)(?: const)? )?", "", text)
    text = re.sub(r"\S+\.(?:cc|h):\d+ \w+ ", "", text)
    text = re.sub(r"Non-zero status code returned while running", "while running", text)
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST_REASON else text[: _LONGEST_REASON - 1] + "…"
