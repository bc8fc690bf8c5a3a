"""Sphinx: the pages of this folder, and the docstrings that they show."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

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
# Docstrings mark code with double backquotes, and parameters without: neither is a link.
default_role = "code"

autoclass_content = "both"  # how RollingSlots is made is said where it is set up
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
