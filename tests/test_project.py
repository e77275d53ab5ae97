"""The habits of the project that no other tool holds: metadata, doors to other packages, size of files, reasons."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

import onnx_attnprune

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "onnx_attnprune"
SOURCES = sorted(PACKAGE.rglob("*.py"))
OWN = sorted(path for folder in ("onnx_attnprune", "tests", "tools") for path in (ROOT / folder).rglob("*.py"))
LONGEST = 320  # lines; past that a file is two things


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def setting(key: str) -> str:
    """A one-line string of pyproject.toml (tomllib is not in Python 3.10)."""
    found = re.search(rf'^{key} = "(.*)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert found, key
    return found[1]


def imports(tree: ast.AST, *, nested: bool) -> Iterator[str]:
    """Packages that are imported, `nested` in functions too; not what only type checkers see."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.split(".")[0]
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        elif nested or not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield from imports(node, nested=nested)


def importers(package: str, *, nested: bool) -> set[str]:
    return {name(path) for path in SOURCES if package in imports(ast.parse(path.read_text()), nested=nested)}


def test_import_search_sees_what_it_must() -> None:
    tree = ast.parse(
        "import a.b\nfrom c import d\nfrom . import e\nif TYPE_CHECKING:\n import f\ntry:\n import g\n"
        "except ImportError:\n pass\nclass K:\n def m(self):\n  import h\n"
    )
    assert set(imports(tree, nested=False)) == {"a", "c", "g"}
    assert set(imports(tree, nested=True)) == {"a", "c", "g", "h"}


def test_versions_agree() -> None:
    assert setting("version") == onnx_attnprune.__version__


def test_the_installed_package_carries_its_papers() -> None:
    try:
        installed = metadata.distribution("onnx-attnprune")
    except metadata.PackageNotFoundError:
        pytest.fail("the package is not installed here; run: pip install --editable '.[dev]'")
    assert installed.version == onnx_attnprune.__version__
    assert installed.metadata["License-Expression"] == "Apache-2.0"
    assert installed.metadata.get_all("License-File") == ["LICENSE"]
    assert installed.metadata["Description-Content-Type"] == "text/markdown"
    assert "Typing :: Typed" in installed.metadata.get_all("Classifier", [])
    assert [entry.value for entry in installed.entry_points if entry.name == setting("name")] == [
        "onnx_attnprune.cli:main"
    ]


def test_licence_changelog_and_type_marker_are_there() -> None:
    licence = (ROOT / "LICENSE").read_text()
    assert "Apache License" in licence
    assert "END OF TERMS AND CONDITIONS" in licence
    assert "## [Unreleased]" in (ROOT / "CHANGELOG.md").read_text()
    assert (PACKAGE / "py.typed").is_file()  # hatchling packs all files of the package folder


def test_doors() -> None:
    assert importers("torch", nested=True) == set()
    assert {Path(name).parent.as_posix() for name in importers("onnxruntime", nested=True)} == {
        "onnx_attnprune/runtime"
    }
    assert importers("onnxruntime", nested=False) == set()  # its import costs 0.2 s, which --help must not pay
    assert importers("vl_convert", nested=True) == {"onnx_attnprune/report/page/chart.py"}
    assert importers("jinja2", nested=True) == {"onnx_attnprune/report/page/template.py"}
    assert importers("olive", nested=True) == {"onnx_attnprune/olive.py"}
    doors = importers("onnx", nested=False)
    assert {Path(name).parent.as_posix() for name in doors} == {"onnx_attnprune/graph"}


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_files_are_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= LONGEST


IGNORE = re.compile(
    r"#\s*(?:noqa|type:\s*ignore)\b(?::\s*[A-Z]+[0-9]+(?:\s*,\s*[A-Z]+[0-9]+)*|\[[\w, -]+\])?(?P<rest>.*)"
)


def lacks_reason(line: str) -> bool:
    """Whether a line switches a check off and does not say why: `# noqa: B006  # why` or `# noqa: B006 - why`."""
    found = IGNORE.search(line)
    return found is not None and not re.search(r"\w{3,}", found["rest"])


def test_reasons_are_recognised() -> None:
    off = "# no" + "qa"
    ignore = "# type" + ": ignore"
    for bad in (off, f"{off}: E501", f"{off}: E501, B006 #", f"{ignore}[arg-type]", f"{ignore} # x"):
        assert lacks_reason(f"f()  {bad}"), bad
    for good in (
        f"{off}: E501  # a link",
        f"{off}: B006 - never written to",
        f"{ignore}[arg-type]  # a fake",
        "# note",
    ):
        assert not lacks_reason(f"f()  {good}"), good


@pytest.mark.parametrize("path", OWN, ids=name)
def test_what_is_switched_off_has_a_reason(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert [f"{number}: {line}" for number, line in enumerate(lines, 1) if lacks_reason(line)] == []


def run(*command: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*map(str, command)], cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A checkout of nothing but the two commands, with a Python that knows every tool and passes or fails by name."""
    for script in ("tools/check", ".ci/run"):
        (tmp_path / script).parent.mkdir()
        (tmp_path / script).write_bytes((ROOT / script).read_bytes())
        (tmp_path / script).chmod(0o755)
    python = tmp_path / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\necho "ran $*"\ncase "$*" in *mypy*) exit "$(cat types)" ;; esac\n')
    python.chmod(0o755)
    (tmp_path / "types").write_text("0")
    return tmp_path


@pytest.mark.skipif(sys.platform == "win32", reason="the two commands are bash scripts")
class TestCommands:
    def test_check_runs_everything_from_any_folder(self, copy: Path) -> None:
        (copy / "elsewhere").mkdir()
        result = run(copy / "tools/check", folder=copy / "elsewhere")
        assert result.returncode == 0
        assert result.stdout.endswith("tools/check: all passed: format lint types imports docs tests\n")
        for tool in ("ruff format --check", "ruff check", "mypy", "lint_imports_command", "pytest -n auto"):
            assert tool in result.stdout

    def test_check_names_what_failed_and_goes_on(self, copy: Path) -> None:
        (copy / "types").write_text("1")
        result = run(copy / "tools/check", folder=copy)
        assert result.returncode == 1
        assert result.stdout.endswith("tools/check: failed: types\n")
        assert "pytest" in result.stdout

    def test_check_takes_steps(self, copy: Path) -> None:
        assert "pytest" not in run(copy / "tools/check", "lint", "types", folder=copy).stdout
        wrong = run(copy / "tools/check", "tset", folder=copy)
        assert (wrong.returncode, "unknown step: tset" in wrong.stderr) == (1, True)

    def test_ci_runs_the_command_of_the_readme(self, copy: Path) -> None:
        block = "<!-- test-command -->\n```bash\n{}\n```\n<!-- /test-command -->\n"
        block = f"```bash\nnot this\n```\n{block}```\nnor not this\n```\n"
        (copy / "README.md").write_text(block.format("cat types && tools/check tests"))
        result = run(copy / ".ci/run", folder=copy.parent)
        assert result.returncode == 0
        assert "not this" not in result.stdout + result.stderr
        assert "ran -m pytest" in result.stdout
        (copy / "README.md").write_text(block.format("false && true\nfalse\ntrue"))
        assert run(copy / ".ci/run", folder=copy).returncode == 1
        (copy / "README.md").write_text("no markers")
        assert "no code block" in run(copy / ".ci/run", folder=copy).stderr
