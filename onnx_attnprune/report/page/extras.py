"""The optional packages that pages are made with."""

from __future__ import annotations

from importlib.util import find_spec

from onnx_attnprune.errors import SettingsError

PACKAGES = {"jinja2": "Jinja2", "vl_convert": "vl-convert-python"}  # module -> what pip calls it


def require(what: str) -> None:
    """Raise SettingsError, with what to install, where a package that pages need is missing."""
    missing = [name for module, name in PACKAGES.items() if find_spec(module) is None]
    if missing:
        raise SettingsError(f"{what}: a page needs {' and '.join(missing)}: pip install 'onnx-attnprune[report]'")
