"""Sphinx: the pages of this folder, and what is generated from the code at each build."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

FOLDER = Path(__file__).resolve().parent
sys.path[:0] = [str(FOLDER), str(FOLDER.parent)]

_about = tomllib.loads((FOLDER.parent / "pyproject.toml").read_text("utf-8"))["project"]
project, version = _about["name"], _about["version"]
release = version
author = _about["authors"][0]["name"]

extensions = ["myst_parser", "sphinx.ext.autodoc"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = f"{project} {version}"
exclude_patterns = ["generated"]
# Docstrings mark code with double backquotes, and parameters without: neither is a link.
default_role = "code"

autoclass_content = "both"  # how RollingSlots is made is said where it is set up
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True


def setup(app: Sphinx) -> None:
    """Write the generated parts before the pages that include them are read."""
    from generate import write_all

    app.connect("builder-inited", lambda app: write_all(FOLDER / "generated"))
