"""Whole runs: states, rates and sequences beside samples."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from onnx_attnprune.errors import DataError
from onnx_attnprune.evaluate.data import batches, fixed_batch
from onnx_attnprune.evaluate.feeds import InputSpec
from onnx_attnprune.evaluate.npz import load_npz
from onnx_attnprune.evaluate.yielded import load_yielded

FLOAT = np.dtype(np.float32)
SOUND, STATE = InputSpec("sound", FLOAT, ("batch", "time")), InputSpec("state", FLOAT, (2, "batch", 5))
RATE = InputSpec("rate", np.dtype(np.int64), ())
LINES, HIDDEN = InputSpec("lines", FLOAT, ("length", 3)), InputSpec("hidden", FLOAT, (1, 1, 4))
SPECS = [SOUND, STATE, RATE]


def write(folder: Path, **arrays: np.ndarray) -> Path:  # type: ignore[type-arg]  # of several types
    np.savez(folder / "data.npz", **arrays)
    return folder / "data.npz"


def numbers(*shape: int) -> np.ndarray:  # type: ignore[type-arg]  # float32
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def test_an_axis_in_front_counts_runs_and_single_numbers_are_shared(tmp_path: Path) -> None:
    sound, state = numbers(6, 1, 20), numbers(6, 2, 1, 5)
    data = load_npz(write(tmp_path, sound=sound, state=state, rate=np.array(16000)), SPECS)
    assert (data.size, data.whole, fixed_batch(SPECS, data)) == (6, True, None)
    for k, batch in enumerate(batches(data.part(slice(2, None)), 16)):
        np.testing.assert_array_equal(batch.feeds["sound"], sound[k + 2])
        np.testing.assert_array_equal(batch.feeds["state"], state[k + 2])
        assert isinstance(batch.feeds["rate"], np.ndarray)
        assert batch.feeds["rate"].shape == ()
        assert batch.feeds["rate"].dtype == np.int64
    assert data.shape("state", 7) == (2, 1, 5)


def test_rows_become_runs_beside_a_state_that_is_given_once(tmp_path: Path) -> None:
    sound = numbers(6, 20)
    data = load_npz(write(tmp_path, sound=sound, state=numbers(2, 1, 5), rate=np.array(8000)), SPECS)
    runs = [batch.feeds for batch in batches(data, 16)]
    assert [f["sound"].shape for f in runs] == [(1, 20)] * 6
    assert {f["state"].tobytes() for f in runs} == {numbers(2, 1, 5).tobytes()}
    assert data.first({"sound": (4, 20)})["sound"].shape == (1, 20)


def test_a_sequence_beside_a_state_of_one(tmp_path: Path) -> None:
    both = load_npz(write(tmp_path, lines=numbers(6, 9, 3), hidden=numbers(1, 1, 4)), [LINES, HIDDEN])
    assert both.whole
    assert [b.size for b in batches(both, 16)] == [9] * 6
    alike = load_npz(write(tmp_path, lines=numbers(6, 3), hidden=numbers(6, 1, 4)), [LINES, HIDDEN])
    assert not alike.whole  # as many rows of each: samples, one at a time
    assert fixed_batch([LINES, HIDDEN], alike) == 1


def test_each_item_of_a_function_is_a_run() -> None:
    def mine() -> Iterator[dict[str, object]]:
        for k in range(5):
            yield {"sound": numbers(2, 20), "state": numbers(2, 2, 5), "rate": k}

    data = load_yielded(mine, SPECS, labelled=False, most=4)
    assert (data.size, data.whole) == (4, True)
    assert [int(b.feeds["rate"]) for b in batches(data, 16)] == [0, 1, 2, 3]
    assert data.run(3)["sound"].shape == (2, 20)


@pytest.mark.parametrize(
    ("arrays", "told"),
    [
        ({"sound": numbers(6, 1, 20), "state": numbers(5, 2, 1, 5)}, "different numbers of runs: sound 6, state 5"),
        ({"sound": numbers(6, 1, 20), "state": numbers(6, 3, 1, 5)}, r"\[6, 3, 1, 5\] with runs in front"),
        ({"sound": numbers(6, 1, 20), "state": numbers(5)}, "array state has shape"),
        ({"sound": numbers(6, 20), "state": numbers(2, 1, 5), "labels": np.arange(6)}, "labels need a first axis"),
    ],
)
def test_what_does_not_fit_is_one_line(arrays: dict[str, np.ndarray], told: str, tmp_path: Path) -> None:  # type: ignore[type-arg]  # as above
    with pytest.raises(DataError, match=told):
        load_npz(write(tmp_path, rate=np.array(1), **arrays), SPECS)
