"""What the README says is so: its commands, its options, its exit codes, the files that it links to."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from click.testing import CliRunner

from onnx_attnprune import errors
from onnx_attnprune.cli import main
from onnx_attnprune.runtime import preferred_multiple

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def between(name: str) -> str:
    """The text between two markers."""
    return README.split(f"<!-- {name} -->")[1].split(f"<!-- /{name} -->")[0]


def test_options_are_those_of_the_command() -> None:
    known = {o for command in (main.default, *main.commands.values()) for p in command.params for o in p.opts}
    known |= {"--help", "--quiet", "--editable"}
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", README))
    assert named - known == set()


def test_the_first_command_does_what_is_printed_below_it(tmp_path: Path) -> None:
    command = between("try-command").split("&&")[-1].replace("```", "").strip()
    program, model, output, *options = shlex.split(command)
    assert program.endswith("/onnx-attnprune")
    options = [str(ROOT / o) if o.startswith("models/") else o for o in options]
    done = CliRunner().invoke(main, [str(ROOT / model), str(tmp_path / output), *options, "--latency-seconds", "0"])
    assert done.exit_code == 0, done.output
    told = between("try-output")
    for row in ("channels", "parameters", "bytes"):
        before, after = re.search(rf"^  {row} +([\d,]+) +([\d,]+)", told, re.M).groups()  # type: ignore[union-attr]  # it is there
        # Another processor has other kernels, and so another multiple.
        expected = after if preferred_multiple("cpu") == 8 else r"[\d,]+"
        assert re.search(rf"^  {row} +{before} +{expected}", done.stdout, re.M), row
    top1 = re.compile(r"^  top-1 .*?([\d.]+)% +([\d.]+)%", re.M)
    (before, after), (now_before, now_after) = (
        tuple(map(float, top1.search(text).groups()))  # type: ignore[union-attr]  # it is there
        for text in (told, done.stdout)
    )
    assert before == now_before
    assert abs(after - now_after) < 3  # other processors fit and round differently


def test_exit_codes_are_all_there() -> None:
    codes = {int(c) for c in re.findall(r"^\| (\d+) \|", README, re.M)}
    kinds = [errors.AttnPruneError, *errors.AttnPruneError.__subclasses__()]
    assert codes == {0, errors.INTERNAL, errors.INTERRUPTED, errors.TERMINATED} | {k.exit_code for k in kinds}


def test_linked_files_are_there() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
