"""Sessions: models that ONNX Runtime has loaded."""

from __future__ import annotations

import ctypes
import enum
import io
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from functools import cache, partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from onnx_attnprune.errors import ModelError, ProviderError, SettingsError
from onnx_attnprune.runtime.failing import told_as
from onnx_attnprune.runtime.providers import chain_of, known_provider

if TYPE_CHECKING:
    import onnx

Array = NDArray[Any]

_BFLOAT16 = 16  # TensorProto.BFLOAT16, written out so that this file needs no onnx
MOST_THREADS = 4096
_EXTERNAL = 1  # TensorProto.EXTERNAL
_SILENT = 4  # ONNX Runtime's FATAL: everything below reaches the user as the one line of an exception, not as a log
_AS_REQUESTED = 1  # how an arena grows: by what is asked for, not by powers of two
NO_SIZES: Mapping[str, int] = MappingProxyType({})


class Optimisation(enum.Enum):
    """What ONNX Runtime may do to a model: everything, as users run models, or nothing, as proofs need it.

    PRECISE: 8-bit products that are exact on every processor. Without VNNI instructions, x64 kernels multiply unsigned
    by signed numbers in pairs whose sum saturates at 16 bits, so that a result rests on which channels are neighbours;
    the option for slower kernels works from the extended level on.
    """

    ALL = "all"
    NONE = "none"
    PRECISE = "precise"


def check_threads(threads: int) -> None:
    """Raise SettingsError for a number of threads that makes no sense."""
    if not 0 <= threads <= MOST_THREADS:
        raise SettingsError(f"--threads {threads}: must be 0 (automatic) or a number up to {MOST_THREADS:,}")


class Session:
    """A model that ONNX Runtime has loaded on one provider (what the provider can't run falls to the CPU).

    `model` is a path, a serialized model or a ModelProto. A model over 2 GB or with weights in external files has to
    come as a path. `threads` 0 lets ONNX Runtime choose. `sizes`: a value for each free size of the inputs that has a
    name, for good (some providers take fixed sizes only). `shared`: it takes the memory of its tensors from where all
    such sessions of the process do, on the CPU, which keeps it, and its threads sleep where they wait: for many
    short-lived ones between other work.

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
        sizes: Mapping[str, int] = NO_SIZES,
        shared: bool = False,
    ) -> None:
        check_threads(threads)
        chain = chain_of(provider, threads)
        self.provider = provider
        options = self._options(optimisation, threads, sizes)
        if shared:
            _share_memory()
            options.add_session_config_entry("session.use_env_allocators", "1")
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = self._load(_source(model), chain, options)
        if chain[0][0] not in self._session.get_providers():
            raise ProviderError(
                f"the {provider} provider can't start on this machine (its driver or library is missing)"
            )
        self._input_types = {port.name: str(port.type) for port in self._session.get_inputs()}
        self._output_types = {port.name: str(port.type) for port in self._session.get_outputs()}

    def _options(self, optimisation: Optimisation, threads: int, sizes: Mapping[str, int]) -> Any:
        """ONNX Runtime's options for the session."""
        import onnxruntime as ort

        level = ort.GraphOptimizationLevel
        levels = {
            Optimisation.ALL: level.ORT_ENABLE_ALL,
            Optimisation.NONE: level.ORT_DISABLE_ALL,
            Optimisation.PRECISE: level.ORT_ENABLE_EXTENDED,
        }
        options = ort.SessionOptions()
        options.log_severity_level = _SILENT
        options.intra_op_num_threads = threads
        options.graph_optimization_level = levels[optimisation]
        if optimisation is Optimisation.PRECISE:
            options.add_session_config_entry("session.x64quantprecision", "1")
        # Idle workers spin for a while after a run; those of one session would slow down the other in a comparison.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        for name, size in sizes.items():
            options.add_free_dimension_override_by_name(name, size)
        return options

    def _load(self, source: str | bytes, chain: Sequence[tuple[str, dict[str, str]]], options: Any) -> Any:
        import onnxruntime as ort

        if known_provider(self.provider).device == "cuda" and hasattr(ort, "preload_dlls"):
            with redirect_stdout(io.StringIO()):  # it prints what it does not find, and the session says so anyway
                ort.preload_dlls()
        with told_as(ModelError, "ONNX Runtime can't load the model"):
            # Without enable_fallback=False a failing provider prints a banner and the session silently runs on the CPU.
            return ort.InferenceSession(source, options, providers=list(chain), enable_fallback=False)

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
        with told_as(ModelError, "ONNX Runtime can't run the model"):
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

    def prepared(self, feeds: Mapping[str, Array]) -> Callable[[], object]:
        """A run on `feeds` as a function, for timing; a run is over when it returns.

        On a GPU the inputs are copied there once, the outputs stay there, and the function waits for the GPU. Raises
        ModelError as `run` does, here and from the function.
        """
        self._check_names(feeds, self.output_names)
        device = known_provider(self.provider).device
        return partial(self.run, feeds) if device == "cpu" else self._bound(feeds, device)

    def _bound(self, feeds: Mapping[str, Array], device: str) -> Callable[[], object]:
        with told_as(ModelError, f"ONNX Runtime can't bind the inputs to {device} memory"):
            binding = self._session.io_binding()
            values = {name: self._ort_value(name, array, device) for name, array in feeds.items()}
            for name, (value, _) in values.items():
                binding.bind_ortvalue_input(name, value)
            for name in self.output_names:
                binding.bind_output(name, device, 0)

        def run(_held: object = values) -> None:
            with told_as(ModelError, "ONNX Runtime can't run the model"):
                self._session.run_with_iobinding(binding)
                binding.synchronize_outputs()

        return run

    def _run_as_ort_values(self, feeds: Mapping[str, Array], names: Sequence[str]) -> list[Array]:
        values = {name: self._ort_value(name, array, "cpu") for name, array in feeds.items()}
        outputs = self._session.run_with_ort_values(list(names), {name: value for name, (value, _) in values.items()})
        return [_to_numpy(value) for value in outputs]

    def _ort_value(self, name: str, array: Array, device: str) -> tuple[Any, Array]:
        """An OrtValue, and the memory to hold while it is in use, which one that is made of an array does not own.

        NumPy has no bfloat16 that ONNX Runtime knows, so such tensors pass as their raw 16 bits, in CPU memory.
        """
        import onnxruntime as ort

        if self._input_types[name] != "tensor(bfloat16)":
            return ort.OrtValue.ortvalue_from_numpy(array, device, 0), array
        bits = np.ascontiguousarray(_as_bfloat16(array).view(np.uint16))
        return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(bits, _BFLOAT16), bits


@cache
def _share_memory() -> None:
    """Set up the memory that sessions can share; ONNX Runtime has one such place a process."""
    import onnxruntime as ort

    place = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    ort.create_and_register_allocator(place, ort.OrtArenaCfg(0, _AS_REQUESTED, -1, -1))


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
    with told_as(ModelError, "can't serialize the model (over 2 GB it must be loaded from its path)"):
        return bytes(model.SerializeToString())


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
