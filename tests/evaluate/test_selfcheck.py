"""The self-check: what it runs, what it holds while it does, and what it says."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, numpy_helper

from onnx_attnprune.errors import FeedError, ModelError, SelfCheckError
from onnx_attnprune.evaluate import selfcheck
from onnx_attnprune.evaluate.selfcheck import SelfCheck, check_equivalence, check_structure
from onnx_attnprune.evaluate.staging import loadable
from onnx_attnprune.graph import as_float32
from onnx_attnprune.runtime import Session
from tests.oracle import parse
from tests.small import cnn, files

FEEDS = {"x": np.random.default_rng(0).standard_normal((2, 3, 12, 10)).astype(np.float32)}


def check(masked: ModelProto, pruned: ModelProto, folder: Path, feeds: dict[str, np.ndarray] = FEEDS) -> SelfCheck:
    return check_equivalence(lambda: masked, pruned, feeds, "float32", "these", folder)


def shifted(by: float) -> ModelProto:
    model = cnn()
    bias = next(t for t in model.graph.initializer if t.name == "b3")
    bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) + np.float32(by), "b3"))
    return model


def test_equal_models_pass(tmp_path: Path) -> None:
    found = check(cnn(), shifted(1e-5), tmp_path)
    assert (found.inputs, found.tolerance, found.in_float32) == ("these", 1e-3, False)
    assert 0 < found.largest < 1e-3
    assert SelfCheck((), 1e-3, "").largest == 0.0


def test_others_do_not(tmp_path: Path) -> None:
    with pytest.raises(SelfCheckError, match=r"output 'y' is off the masked original by .* nothing was written"):
        check(cnn(), shifted(0.1), tmp_path)


def test_an_original_that_overflows_is_said_to(tmp_path: Path) -> None:
    with pytest.raises(SelfCheckError, match=r"the model itself gives infinity or nan as 'y' on these, and .*--eval"):
        check(shifted(np.inf), cnn(), tmp_path)


def test_who_is_to_blame(tmp_path: Path) -> None:
    broken = cnn()
    broken.graph.node[0].op_type = "Riddle"
    with pytest.raises(SelfCheckError, match="the pruned model does not run: ONNX Runtime can't load"):
        check(cnn(), broken, tmp_path)
    with pytest.raises(ModelError, match="ONNX Runtime can't load") as caught:
        check(broken, cnn(), tmp_path)
    assert not isinstance(caught.value, FeedError)
    with pytest.raises(FeedError, match="ONNX Runtime can't run the model"):
        check(cnn(), cnn(), tmp_path, {"x": np.zeros((2, 4, 12, 10), np.float32)})


def test_the_masked_model_is_not_held_while_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[ModelProto] = []
    holders: list[int] = []

    def masked() -> ModelProto:
        made.append(cnn())
        return made[-1]

    class Spy(Session):
        def __init__(self, *arguments: object, **options: object) -> None:
            holders.append(sys.getrefcount(made[0]))
            super().__init__(*arguments, **options)  # type: ignore[arg-type]  # passed through

    monkeypatch.setattr(selfcheck, "Session", Spy)
    check_equivalence(masked, cnn(), FEEDS, "float32", "these", tmp_path)
    assert len(made) == 1
    assert holders == [sys.getrefcount(made[0])] * 2  # nobody but the list


def test_structure() -> None:
    check_structure(cnn(), cnn())
    renamed = cnn()
    renamed.graph.input[0].name = renamed.graph.node[0].input[0] = "z"
    with pytest.raises(SelfCheckError, match="the inputs were"):
        check_structure(cnn(), renamed)
    unsorted = cnn()
    unsorted.graph.node.insert(0, unsorted.graph.node.pop())
    with pytest.raises(SelfCheckError, match=r"onnx.checker rejects"):
        check_structure(cnn(), unsorted)
    check_structure(unsorted, unsorted)  # no new complaint


# ---------------------------------------------------------------- models that are too large, and types without kernels
def test_models_over_the_limit_go_through_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnx_attnprune.graph.writing.PROTOBUF_LIMIT", 10_000)
    with loadable(cnn(), tmp_path) as source:
        assert isinstance(source, Path)
        assert source.parent.parent == tmp_path
        assert Session(source).run(FEEDS)["y"].shape == (2, 7)
    assert files(tmp_path) == set()
    assert check(cnn(), shifted(1e-5), tmp_path).largest < 1e-3
    assert files(tmp_path) == set()


def test_others_do_not_touch_the_disk(tmp_path: Path) -> None:
    with loadable(cnn(), tmp_path / "not there") as source:
        assert source == cnn().SerializeToString()


# 16384 are the bits of 2 in bfloat16.
BFLOAT16 = """g (bfloat16[N, 6] x, bool c) => (bfloat16[N, 7] y)
<bfloat16[6, 20] w, bfloat16[20, 7] v>
{ h = MatMul (x, w)
  f = Cast <to = 1> (h)
  b = Cast <to = 16> (f)
  k = Constant <value = bfloat16[1] {16384}> ()
  m = Mul (b, k)
  s = If (c) <
    then_branch = g1 () => (bfloat16[N, 20] t) { t = Relu (m) },
    else_branch = g2 () => (bfloat16[N, 20] e) { e = Neg (m) }
  >
  y = MatMul (s, v) }"""


def test_float32_copies_hold_no_bfloat16() -> None:
    model = parse(BFLOAT16)
    before = model.SerializeToString()
    copy = as_float32(model)
    assert model.SerializeToString() == before
    assert b"then_branch" in copy.SerializeToString()
    numbers = [t.data_type for t in copy.graph.initializer]
    numbers += [v.type.tensor_type.elem_type for v in (*copy.graph.input, *copy.graph.output)]
    assert TensorProto.BFLOAT16 not in numbers
    x = np.random.default_rng(0).standard_normal((2, 6)).astype(np.float32)
    w, v = (numpy_helper.to_array(t).astype(np.float32) for t in model.graph.initializer)
    for c in (True, False):
        h = 2 * (x @ w)
        expected = (np.maximum(h, 0) if c else -h) @ v
        np.testing.assert_allclose(Session(copy).run({"x": x, "c": np.array(c)})["y"], expected, rtol=1e-4, atol=1e-5)
    assert as_float32(copy) == copy
