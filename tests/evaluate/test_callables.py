"""Functions of the user's own, by name: found in the current folder, and every way in which they are not."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from onnx_attnprune.errors import AttnPruneError, DataError, SettingsError
from onnx_attnprune.evaluate.callables import function_of, is_function_name, name_of
from onnx_attnprune.evaluate.feeds import InputSpec
from onnx_attnprune.evaluate.yielded import load_yielded

SPECS = (InputSpec("x", np.dtype(np.float32), ("N", 3)),)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A current folder of its own, whose modules are forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    before, path = set(sys.modules), list(sys.path)
    yield tmp_path
    assert sys.path == path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def module(folder: Path, text: str, name: str = "own_samples") -> str:
    (folder / f"{name}.py").write_text(text)
    return name


def test_names() -> None:
    assert is_function_name("data:samples")
    assert is_function_name("a.b_c:d1")
    assert not any(map(is_function_name, ("data.npz", "a/b:c", "a:", ":b", "a:b.c", "C:\\data.npz")))
    assert name_of(test_names) == "tests.evaluate.test_callables:test_names"


def test_a_function_of_the_current_folder(folder: Path) -> None:
    module(folder, "import own_helper\ndef f(): return own_helper.VALUE")
    module(folder, "VALUE = 7", "own_helper")
    assert function_of("own_samples:f")() == 7


@pytest.mark.parametrize(
    ("text", "name", "kind", "told"),
    [
        ("", "own_nothing:f", SettingsError, "own_nothing:f: there is no module 'own_nothing' in the current folder"),
        ("", "own_samples.deep:f", SettingsError, "own_samples.deep:f: there is no module 'own_samples.deep'"),
        ("import own_gone", "own_samples:f", DataError, "module 'own_samples' imports 'own_gone', which is not there"),
        ("1 / 0", "own_samples:f", DataError, "can't be imported: ZeroDivisionError: division by zero"),
        ("def f(:", "own_samples:f", DataError, "can't be imported: SyntaxError"),
        ("raise SystemExit", "own_samples:f", DataError, "can't be imported: SystemExit"),
        ("def g(): pass", "own_samples:f", SettingsError, "module 'own_samples' has no 'f'"),
        ("f = 3", "own_samples:f", SettingsError, "'f' is no function but int"),
    ],
)
def test_what_is_no_function(folder: Path, text: str, name: str, kind: type[AttnPruneError], told: str) -> None:
    module(folder, text)
    with pytest.raises(kind) as caught:
        function_of(name)
    assert str(caught.value).startswith(f"{name}: ")
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


# ---------------------------------------------------------------- what they yield
def batch(count: int, start: int = 0) -> np.ndarray:
    return np.arange(start * 3, (start + count) * 3, dtype=np.float64).reshape(count, 3)


def test_batches_are_joined() -> None:
    found = load_yielded(lambda: ({"x": batch(2, k * 2)} for k in range(3)), SPECS, labelled=False, most=None)
    assert (found.size, found.labels, found.feeds["x"].dtype) == (6, None, np.float32)
    np.testing.assert_array_equal(np.asarray(found.feeds["x"]), batch(6))


def test_labels_come_in_pairs() -> None:
    pairs = [({"x": batch(2)}, [4, 5]), [{"x": batch(1, 2)}, np.array([6])]]
    found = load_yielded(lambda: pairs, SPECS, labelled=True, most=None, name="mine")
    assert found.labels is not None
    assert (found.labels.tolist(), found.source) == ([4, 5, 6], "mine")
    assert load_yielded(lambda: pairs, SPECS, labelled=False, most=None).labels is None


def test_one_that_never_ends_is_asked_for_no_more_than_is_needed() -> None:
    asked = []

    def forever() -> Iterator[dict[str, np.ndarray]]:
        while True:
            asked.append(1)
            yield {"x": batch(4)}

    assert load_yielded(forever, SPECS, labelled=False, most=10).size == 10
    assert len(asked) == 3


def raising() -> Iterator[dict[str, np.ndarray]]:
    yield {"x": batch(1)}
    raise KeyError("gone\nbad")


@pytest.mark.parametrize(
    ("function", "labelled", "told"),
    [
        (lambda: None, False, "returns None, and not something that yields batches"),
        (lambda: {"x": batch(1)}, False, "returns a dict"),
        (lambda a: a, False, "raised TypeError"),
        (list, False, "yields nothing"),
        (raising, False, "raised KeyError: 'gone\\nbad'"),
        (lambda: [batch(1)], False, "item 1: the feeds are a ndarray, and not a dict"),
        (lambda: [{"x": batch(1)}], True, "item 1 is a dict; evaluation needs pairs (feeds, labels)"),
        (lambda: [{"x": batch(1)}, {"y": batch(1)}], False, "item 2: no array x; the model needs x, there is y"),
        (lambda: [{"x": batch(1), "z": 1 + batch(1)}], False, "item 1: the model has no input z"),
        (lambda: [{"x": np.zeros((2, 4))}], False, "array x has shape [2, 4], the model takes [samples, 3]"),
        (lambda: [{"x": [["a", "b", "c"]]}], False, "the model takes float32; that is no safe conversion"),
        (lambda: [{"x": object()}], False, "array x is no array of numbers but a object"),
        (lambda: [{"x": [[1], [2, 3]]}], False, "array x is no array"),
        (lambda: [{"x": 3}], False, "array x is a single number"),
        (lambda: [({"x": batch(2)}, [1])], True, "different numbers of samples: x 2, labels 1"),
        (lambda: [({"x": batch(2)}, 1)], True, "labels is a single number"),
        (lambda: [({"x": batch(1)}, [[1]]), ({"x": batch(1)}, [[1, 2]])], True, "labels has samples of different"),
    ],
)  # fmt: skip  # one line each
def test_what_does_not_fit_is_one_line(function: object, labelled: bool, told: str) -> None:
    with pytest.raises(DataError) as caught:
        load_yielded(function, SPECS, labelled=labelled, most=None, name="own:f")  # type: ignore[arg-type]  # on purpose
    assert str(caught.value).startswith("own:f: ")
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_function_that_ends_the_program_is_an_error() -> None:
    def leave() -> Iterator[object]:
        sys.exit("enough")
        yield

    with pytest.raises(DataError, match="leave: raised SystemExit: enough"):
        load_yielded(leave, SPECS, labelled=False, most=None)
