"""What `mkdocs build` adds to the pages of docs/: those that are made from the code."""

from __future__ import annotations

import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

sys.path.insert(0, str(Path(__file__).parent))  # mkdocs loads this file by its path

from axis_pictures import EXAMPLES, picture
from reference import commands_page, operators_page

PAGES = {"reference.md": commands_page, "operators.md": operators_page}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages, before the links between pages are checked."""
    for name, make in PAGES.items():
        files.append(File.generated(config, name, content=make()))
    for name, network in EXAMPLES.items():
        files.append(File.generated(config, name, content=picture(network)))
    return files
