"""Providers: names, where to get them, what they are given, and what their kernels like."""

from __future__ import annotations

import pytest
from onnx import parser

from onnx_attnprune import runtime
from onnx_attnprune.errors import ProviderError, SettingsError
from onnx_attnprune.runtime import Session
from onnx_attnprune.runtime.providers import chain_of, short_name

RELU = parser.parse_model('<ir_version: 8, opset_import: ["": 17]> g (float[3] x) => (float[3] y) {y = Relu(x)}')


def test_providers_have_short_names() -> None:
    assert runtime.available_providers()[0] == "cpu"
    assert runtime.resolve_provider("cpu") == "CPUExecutionProvider"


@pytest.fixture
def cpu_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "onnxruntime.get_available_providers", lambda: ["AzureExecutionProvider", "CPUExecutionProvider"]
    )


@pytest.mark.usefixtures("cpu_only")
@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("cuda", "pip install onnxruntime-gpu"),
        ("tensorrt", "pip install onnxruntime-gpu"),
        ("openvino", "pip install onnxruntime-openvino"),
        ("coreml", "macOS"),
        ("dml", "pip install onnxruntime-directml"),
        ("xnnpack", "--use_xnnpack"),
        ("qnn", "pip install onnxruntime-qnn"),
        ("nnapi", "onnxruntime-android"),
    ],
)
def test_a_missing_provider_says_where_to_get_it(name: str, source: str) -> None:
    with pytest.raises(ProviderError, match=rf"no {name} provider \(.*{source}.*\); it has: cpu$"):
        runtime.resolve_provider(name)
    with pytest.raises(ProviderError):
        Session(RELU, provider=name)


def test_an_unknown_provider_is_a_setting() -> None:
    for ask in (runtime.resolve_provider, runtime.preferred_multiple):
        with pytest.raises(SettingsError, match="no provider is called 'gpu'; choose from: cpu, cuda"):
            ask("gpu")


@pytest.mark.parametrize(
    ("cpuinfo", "block"),
    [
        ("processor\t: 0\nflags\t\t: fpu avx2 avx512f avx512bw\n", 16),
        ("processor\t: 0\nflags\t\t: fpu avx2 fma\n", 8),
        ("flags : avx512_bf16 avx512f_like\n", 8),  # a word of its own, not a part of one
        ("Features\t: fp asimd\n", 8),  # Arm
        ("", 8),
    ],
)
def test_the_block_follows_the_flags(cpuinfo: str, block: int) -> None:
    assert runtime.block_of_cpu(cpuinfo) == block


def test_preferred_multiples() -> None:
    assert runtime.preferred_multiple("cpu") in (8, 16)
    assert runtime.preferred_multiple("cuda") == 8


def test_every_provider_has_both_names() -> None:
    for name, provider in runtime.PROVIDERS.items():
        assert short_name(provider.ort_name) == name
    assert short_name("AbacusExecutionProvider") == "AbacusExecutionProvider"


def test_what_a_session_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    there = [p.ort_name for p in runtime.PROVIDERS.values()]
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: there)
    cpu = ("CPUExecutionProvider", {})
    assert chain_of("cpu", 2) == [cpu]
    assert chain_of("tensorrt", 2) == [("TensorrtExecutionProvider", {}), ("CUDAExecutionProvider", {}), cpu]
    assert chain_of("openvino", 2) == [("OpenVINOExecutionProvider", {"num_of_threads": "2"}), cpu]
    assert chain_of("openvino", 0) == [("OpenVINOExecutionProvider", {}), cpu]
    there.remove("CUDAExecutionProvider")
    assert chain_of("tensorrt", 0) == [("TensorrtExecutionProvider", {}), cpu]
