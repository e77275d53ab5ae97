"""The groups of known architectures, line by line, and the oracle on them."""

from __future__ import annotations

import pytest

from tests.golden.__main__ import FOLDER, main, text_of
from tests.golden.nets import NETS
from tests.oracle import assert_exact


@pytest.mark.parametrize("name", NETS)
def test_groups(name: str) -> None:
    """`python -m tests.golden --write` writes the files anew."""
    assert text_of(name).splitlines() == (FOLDER / f"{name}.txt").read_text().splitlines()


@pytest.mark.parametrize("name", NETS)
def test_pruned_is_masked(name: str) -> None:
    assert_exact(NETS[name](), seeds=(0, 1, 2, 3), tolerance=1e-4)


def test_there_is_no_file_too_many() -> None:
    assert {p.stem for p in FOLDER.glob("*.txt")} == set(NETS)


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert main(["--wrong"]) == 2
    assert "tests.golden --write" in capsys.readouterr().out
