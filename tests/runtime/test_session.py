"""Sessions on small models given as ONNX text, and what ONNX Runtime's failures look like."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

from onnx_attnprune import runtime
from onnx_attnprune.errors import ModelError, ProviderError, SettingsError
from onnx_attnprune.runtime import Optimisation, Session


def model(text: str) -> onnx.ModelProto:
    return parser.parse_model('<ir_version: 8, opset_import: ["": 17]> ' + text)


ADD = model(
    "g (float[N, 3] x, float[N, 3] y) => (float[N, 3] sum, float[N, 3] product) {sum = Add(x, y) product = Mul(x, y)}"
)
X = np.arange(6, dtype=np.float32).reshape(2, 3)
Y = np.full((2, 3), 2, np.float32)


@pytest.mark.parametrize("form", ["proto", "bytes", "path", "text path"])
@pytest.mark.parametrize("optimisation", list(Optimisation))
def test_runs_a_model_in_each_form(form: str, optimisation: Optimisation, tmp_path: Path) -> None:
    path = tmp_path / "add.onnx"
    onnx.save(ADD, path)
    source = {"proto": ADD, "bytes": ADD.SerializeToString(), "path": path, "text path": str(path)}[form]
    session = Session(source, optimisation=optimisation, threads=1)
    assert (session.provider, session.input_names, session.output_names) == ("cpu", ("x", "y"), ("sum", "product"))
    outputs = session.run({"x": X, "y": Y})
    assert list(outputs) == ["sum", "product"]
    np.testing.assert_array_equal(outputs["sum"], X + Y)
    np.testing.assert_array_equal(outputs["product"], X * Y)


def test_output_names_choose_and_order() -> None:
    session = Session(ADD)
    assert list(session.run({"x": X, "y": Y}, ["product", "sum"])) == ["product", "sum"]
    assert list(session.run({"x": X, "y": Y}, ["product"])) == ["product"]


def test_sessions_that_share_their_memory_compute_the_same() -> None:
    held = []
    for factor in (1, 2, 3):  # what one gives outlives it
        held.append((factor, Session(ADD, shared=True).run({"x": factor * X, "y": Y})))
    for factor, outputs in held:
        np.testing.assert_array_equal(outputs["sum"], factor * X + Y)
        np.testing.assert_array_equal(outputs["product"], factor * X * Y)


def test_scalar_outputs_are_arrays() -> None:
    outputs = Session(model("g (float[3] x) => (float y) {y = ReduceSum<keepdims = 0>(x)}")).run({"x": X[1]})
    assert isinstance(outputs["y"], np.ndarray)
    assert (outputs["y"].shape, float(outputs["y"])) == ((), 12.0)


def test_the_optimiser_fuses_only_when_allowed(tmp_path: Path) -> None:
    """Identity falls to the optimiser; a kernel that reports itself to the profile would still be there."""
    chain = model("g (float[3] x) => (float[3] y) {a = Neg(x) b = Identity(a) y = Neg(b)}")

    def nodes(optimisation: Optimisation) -> int:
        import onnxruntime as ort

        target = tmp_path / f"{optimisation.value}.onnx"
        original = ort.SessionOptions
        with pytest.MonkeyPatch.context() as patch:

            def with_dump() -> ort.SessionOptions:
                options = original()
                options.optimized_model_filepath = str(target)
                return options

            patch.setattr(ort, "SessionOptions", with_dump)
            Session(chain, optimisation=optimisation)
        return len(onnx.load(target).graph.node)

    assert nodes(Optimisation.NONE) == 3
    assert nodes(Optimisation.ALL) < 3


@pytest.fixture
def external(tmp_path: Path) -> Path:
    weight = np.arange(9, dtype=np.float32).reshape(3, 3)
    proto = model("g (float[N, 3] x) => (float[N, 3] y) {y = MatMul(x, w)}")
    proto.graph.initializer.append(numpy_helper.from_array(weight, "w"))
    path = tmp_path / "folder" / "external.onnx"
    path.parent.mkdir()
    onnx.save(proto, path, save_as_external_data=True, size_threshold=0, location="weights.bin")
    return path


def test_external_weights_load_from_a_path(external: Path) -> None:
    outputs = Session(external).run({"x": X})
    np.testing.assert_array_equal(outputs["y"], X @ np.arange(9, dtype=np.float32).reshape(3, 3))


def test_external_weights_without_a_path_are_refused(external: Path) -> None:
    with pytest.raises(ModelError, match="external files: load it from its path"):
        Session(onnx.load(external, load_external_data=False))


def test_missing_external_weights_are_one_line(external: Path) -> None:
    (external.parent / "weights.bin").unlink()
    with pytest.raises(ModelError, match=r"weights\.bin") as caught:
        Session(external)
    assert_is_one_clean_line(caught.value)


def assert_is_one_clean_line(error: Exception) -> None:
    text = str(error)
    assert "\n" not in text
    assert len(text) < 400
    for noise in ("ONNXRuntimeError", "/onnxruntime_src", ".cc:", ".h:", "INVALID_"):
        assert noise not in text


BROKEN = {
    "no operator": (model("g (float[3] x) => (float[3] y) {y = Nonsense(x)}"), "Nonsense"),
    "garbage": (b"this is not a model", "protobuf parsing failed"),
    "nothing": (b"", "No graph was found"),
    "truncated": (ADD.SerializeToString()[:40], "protobuf parsing failed"),
    "bfloat16 kernel": (model("g (bfloat16[3] x) => (bfloat16[3] y) {y = Relu(x)}"), "Relu"),
    "newer version": (onnx.ModelProto(ir_version=99, graph=ADD.graph, opset_import=ADD.opset_import), "IR version: 99"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_model_that_does_not_load(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    source, reason = BROKEN[name]
    with pytest.raises(ModelError, match=reason) as caught:
        Session(source)
    assert str(caught.value).startswith("ONNX Runtime can't load the model: ")
    assert_is_one_clean_line(caught.value)
    assert capfd.readouterr() == ("", "")


def test_a_path_that_is_no_file(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.onnx", tmp_path):
        with pytest.raises(ModelError, match=f"{path.name}: no such file"):
            Session(path)


FEEDS = {
    "missing": ({"x": X}, "no array for the model's input y"),
    "unknown": ({"x": X, "y": Y, "z": Y}, "no input z; it has: x, y"),
    "size": ({"x": X[:, :2], "y": Y}, "Got: 2 Expected: 3"),
    "rank": ({"x": X[0], "y": Y}, "rank"),
    "type": ({"x": X.astype(np.float64), "y": Y}, "double"),
    "broadcast": ({"x": X, "y": np.ones((5, 3), np.float32)}, "while running (Add|Mul) node"),
}


@pytest.mark.parametrize("name", FEEDS)
def test_feeds_that_do_not_fit(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    feeds, reason = FEEDS[name]
    with pytest.raises(ModelError, match=reason) as caught:
        Session(ADD).run(feeds)
    assert_is_one_clean_line(caught.value)
    assert capfd.readouterr() == ("", "")


def test_an_output_name_that_does_not_exist() -> None:
    with pytest.raises(ModelError, match="no output nothing; it has: sum, product"):
        Session(ADD).run({"x": X, "y": Y}, ["nothing"])


@pytest.mark.parametrize("beside", ["float", "bfloat16"])
def test_a_sequence_is_no_tensor(beside: str) -> None:
    inputs, outputs = f"float[3] x, {beside}[3] b", f"seq(float[3]) y, {beside}[3] c"
    text = f"g ({inputs}) => ({outputs}) {{y = SequenceConstruct(x) c = Identity(b)}}"
    array = X[0].astype(ml_dtypes.bfloat16) if beside == "bfloat16" else X[0]
    with pytest.raises(ModelError, match=r"output.* is no tensor but seq") as caught:
        Session(model(text)).run({"x": X[0], "b": array})
    assert_is_one_clean_line(caught.value)


def test_float16_is_native() -> None:
    half = X.astype(np.float16)
    outputs = Session(model("g (float16[N, 3] x) => (float16[N, 3] y) {y = Relu(x)}")).run({"x": half})
    assert outputs["y"].dtype == np.float16
    np.testing.assert_array_equal(outputs["y"], half)


def test_bfloat16_goes_in_and_comes_out_beside_other_types() -> None:
    mixed = model(
        "g (bfloat16[N, 3] x, float[N, 3] y) => (bfloat16[N, 3] same, bfloat16[N, 3] cast, float[N, 3] wide)"
        "{same = Identity(x) cast = Cast<to = 16>(y) wide = Cast<to = 1>(x)}"
    )
    narrow = np.asfortranarray((X / 3).astype(ml_dtypes.bfloat16))
    outputs = Session(mixed).run({"x": narrow, "y": X / 7})
    assert [array.dtype.name for array in outputs.values()] == ["bfloat16", "bfloat16", "float32"]
    np.testing.assert_array_equal(outputs["same"], narrow)
    np.testing.assert_array_equal(outputs["cast"], (X / 7).astype(ml_dtypes.bfloat16))
    np.testing.assert_array_equal(outputs["wide"], narrow.astype(np.float32))
    outputs["same"][0, 0] = 1  # its own memory, and writable


def test_bfloat16_is_not_cast_behind_the_users_back() -> None:
    with pytest.raises(ModelError, match="takes bfloat16 where float32 was given"):
        Session(model("g (bfloat16[N, 3] x) => (bfloat16[N, 3] y) {y = Identity(x)}")).run({"x": X})


@pytest.mark.parametrize("threads", [-1, 4097, 2**40])
def test_numbers_of_threads_that_make_no_sense(threads: int) -> None:
    with pytest.raises(SettingsError, match=rf"--threads {threads}: must be 0 \(automatic\) or a number up to 4,096"):
        Session(ADD, threads=threads)


def test_a_provider_that_does_not_start_is_told(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("onnx_attnprune.runtime.session.chain_of", lambda *_: [("CUDAExecutionProvider", {})])
    monkeypatch.setattr("onnxruntime.preload_dlls", lambda: print("no such library"), raising=False)

    class OnTheCpu:
        def get_providers(self) -> list[str]:
            return ["CPUExecutionProvider"]

    monkeypatch.setattr("onnxruntime.InferenceSession", lambda *args, **options: OnTheCpu())
    with pytest.raises(ProviderError, match="cuda provider can't start"):
        Session(ADD, provider="cuda")
    assert capfd.readouterr() == ("", "")


def test_the_package_does_not_import_onnxruntime_until_it_is_needed() -> None:
    code = "import sys, onnx_attnprune.runtime; sys.exit('onnxruntime' in sys.modules)"
    root = Path(runtime.__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=root).returncode == 0


# ---------------------------------------------------------------- sizes and timing
def test_sizes_are_fixed_for_good() -> None:
    session = Session(ADD, sizes={"N": 2, "nothing": 7})
    session.run({"x": X, "y": Y})
    with pytest.raises(ModelError, match="Got: 1 Expected: 2"):
        session.run({"x": X[:1], "y": Y[:1]})


def test_a_prepared_run_on_the_cpu_runs_the_model() -> None:
    outputs = Session(ADD).prepared({"x": X, "y": Y})()
    np.testing.assert_array_equal(outputs["product"], X * Y)  # type: ignore[index]  # what run gives


def test_a_prepared_run_refuses_what_does_not_fit() -> None:
    with pytest.raises(ModelError, match="no array for the model's input y"):
        Session(ADD).prepared({"x": X})


class Binding:
    """What a GPU is given, in order."""

    def __init__(self, log: list[str]) -> None:
        self.log = log

    def bind_ortvalue_input(self, name: str, value: tuple[str, str, int]) -> None:
        self.log.append(f"{name} is {value[0]} in {value[1]} {value[2]}")

    def bind_output(self, name: str, device: str, number: int) -> None:
        self.log.append(f"{name} to {device} {number}")

    def synchronize_outputs(self) -> None:
        self.log.append("wait")


class OnAGpu:
    """A session that does nothing but tell what it is asked."""

    def __init__(self, log: list[str]) -> None:
        self.log = log

    def get_providers(self) -> list[str]:
        return ["CUDAExecutionProvider", "CPUExecutionProvider"]

    def get_inputs(self) -> list[SimpleNamespace]:
        return [SimpleNamespace(name="x", type="tensor(float)")]

    def get_outputs(self) -> list[SimpleNamespace]:
        return [
            SimpleNamespace(name="sum", type="tensor(float)"),
            SimpleNamespace(name="product", type="tensor(float)"),
        ]

    def io_binding(self) -> Binding:
        return Binding(self.log)

    def run_with_iobinding(self, binding: Binding) -> None:
        self.log.append("run")


@pytest.mark.parametrize(
    ("provider", "chain"),
    [
        ("cuda", ["CUDAExecutionProvider", "CPUExecutionProvider"]),
        ("tensorrt", ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]),
    ],
)
def test_a_run_on_a_gpu_copies_inputs_once_and_waits_for_its_end(
    provider: str, chain: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    log: list[str] = []
    given: list[list[tuple[str, dict[str, str]]]] = []
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: chain if provider == "tensorrt" else chain[:])
    monkeypatch.setattr("onnxruntime.preload_dlls", lambda: None, raising=False)

    def session(source: bytes, options: object, providers: list[tuple[str, dict[str, str]]], **_: object) -> OnAGpu:
        given.append(providers)
        gpu = OnAGpu(log)
        monkeypatch.setattr(gpu, "get_providers", lambda: chain)
        return gpu

    monkeypatch.setattr("onnxruntime.InferenceSession", session)
    monkeypatch.setattr(
        "onnxruntime.OrtValue.ortvalue_from_numpy", lambda array, device, number: (f"{array.shape}", device, number)
    )
    run = Session(ADD, provider=provider).prepared({"x": X})
    assert given == [[(name, {}) for name in chain]]
    assert log == ["x is (2, 3) in cuda 0", "sum to cuda 0", "product to cuda 0"]
    run()
    run()
    assert log[3:] == ["run", "wait"] * 2


def test_bound_runs_compute_what_others_do() -> None:
    """The calls of a GPU run, on memory of the CPU: those that the fakes above take are really there."""
    session = Session(ADD)
    session._bound({"x": X, "y": Y}, "cpu")()
    with pytest.raises(ModelError, match="can't bind the inputs to abacus memory"):
        session._bound({"x": X, "y": Y}, "abacus")
    narrow = model("g (bfloat16[N, 3] x) => (bfloat16[N, 3] y) {y = Identity(x)}")
    Session(narrow)._bound({"x": X.astype(ml_dtypes.bfloat16)}, "cpu")()


def test_precise_products_of_8_bits() -> None:
    """Pairs of products whose sum leaves 16 bits: exact, and asked for in the way that all x64 processors heed."""
    product = model("g (uint8[3,4] x) => (int32[3,2] y) { y = MatMulInteger (x, w) }")
    w = np.full((4, 2), 127, np.int8)
    product.graph.initializer.append(numpy_helper.from_array(w, "w"))
    x = np.full((3, 4), 255, np.uint8)
    session = Session(product, optimisation=Optimisation.PRECISE)
    np.testing.assert_array_equal(session.run({"x": x})["y"], x.astype(np.int32) @ w)
    options = session._session.get_session_options()
    assert options.get_session_config_entry("session.x64quantprecision") == "1"
