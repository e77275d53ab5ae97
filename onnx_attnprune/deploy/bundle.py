"""A bundle: a folder with an original and a pruned model, samples, and what each makes of them, for a run elsewhere."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from onnx_attnprune.errors import DataError
from onnx_attnprune.evaluate.feeds import Shape

FORMAT, VERSION = "onnx-attnprune/bundle", 1
MANIFEST, PLAN, README, SCRIPT = "manifest.json", "plan.json", "README.md", "run.sh"
ROLES = ("original", "pruned")
MODEL = "model.onnx"
ORT = "ort"  # the folder of what an app loads


@dataclass(frozen=True, slots=True)
class Bundled:
    """One model of a bundle.

    role: its folder there. source, sha256: the file that it was made of, and its hash as plans have it. largest: the
    least of the largest values of its float outputs, to which tolerances are relative (0: it has none). ort: its file
    in ONNX Runtime's own format; None where there is none, and `without_ort` says why.
    """

    role: str
    source: str
    sha256: str
    batch: int | None
    shapes: Mapping[str, Shape]
    largest: float
    tolerance: float
    ort: str | None
    without_ort: str = ""

    def limits(self, tolerance: float | None) -> tuple[float, float]:
        """How far an output elsewhere may be from the expected one: absolutely, and relative to it.

        tolerance: a share of the largest value; None for what suits the type of the outputs.
        """
        relative = self.tolerance if tolerance is None else tolerance
        return relative * self.largest, relative


@dataclass(frozen=True, slots=True)
class Bundle:
    """What the manifest of a bundle says. inputs: where the samples are from, for people. files: SHA-256 by path."""

    command: str
    versions: Mapping[str, str]
    inputs: str
    samples: int
    models: tuple[Bundled, ...]
    plan: str | None
    files: Mapping[str, str]

    def as_dict(self) -> dict[str, Any]:
        """The manifest as plain data for JSON."""
        return {"format": FORMAT, "version": VERSION, **asdict(self)}


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder but the manifest, by path."""
    found = sorted(p for p in folder.rglob("*") if p.is_file() and p != folder / MANIFEST)
    return {p.relative_to(folder).as_posix(): _digest(p) for p in found}


def _digest(path: Path) -> str:
    """Of the bytes of one file, as `sha256sum` has it; unlike the hash of a model, which covers its other files."""
    digest = hashlib.sha256()
    with path.open("rb") as f:
        while block := f.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def read_bundle(folder: Path) -> Bundle:
    """The bundle in a folder, with every file looked at. Raises DataError."""
    bundle = manifest_of(folder)
    for name, expected in bundle.files.items():
        path = folder / name
        if not path.is_file():
            raise DataError(f"{path}: is missing; make the bundle again")
        if _digest(path) != expected:
            raise DataError(f"{path}: has changed since the bundle was made; make it again")
    return bundle


def manifest_of(folder: Path) -> Bundle:
    """What the manifest of a bundle says. Raises DataError where the folder is none."""
    path = folder / MANIFEST
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{folder}: no bundle (it has no {MANIFEST}); device bundle makes one") from None
    except OSError as error:
        raise DataError(f"{path}: can't be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise DataError(f"{path}: no manifest of a bundle") from None
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise DataError(f"{path}: no manifest of a bundle")
    if found.get("version") != VERSION:
        raise DataError(f"{path}: version {found.get('version')} of the format; this program knows {VERSION}")
    try:
        return _bundle(found)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: a manifest that is damaged ({type(error).__name__}: {error})") from None


def _bundle(found: Mapping[str, Any]) -> Bundle:
    models = tuple(_bundled(model) for model in found["models"])
    if [model.role for model in models] != list(ROLES):
        raise ValueError("it is not of two models")
    files = {str(name): str(digest) for name, digest in found["files"].items()}
    for name in files:
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise ValueError(f"{name} lies outside")
    kept = {f.name: found[f.name] for f in fields(Bundle) if f.name not in ("models", "files")}
    return Bundle(**kept, models=models, files=files)


def _bundled(found: Mapping[str, Any]) -> Bundled:
    shapes = {str(name): tuple(int(size) for size in shape) for name, shape in found["shapes"].items()}
    largest, tolerance = float(found["largest"]), float(found["tolerance"])
    kept = {f.name: found[f.name] for f in fields(Bundled) if f.name not in ("shapes", "largest", "tolerance")}
    return Bundled(**kept, shapes=shapes, largest=largest, tolerance=tolerance)
