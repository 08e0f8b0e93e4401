"""Sphinx configuration. Build: python -m sphinx -W -b html docs docs/_build"""

from __future__ import annotations

from trealtime import __version__

project = "trealtime"
author = "trealtime contributors"
copyright = "2026, trealtime contributors"
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.intersphinx"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = f"trealtime {release}"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
exclude_patterns = ["_build"]

# Docstrings write `Name` for names of this library and for parameters: a link where there is one, else code.
default_role = "py:obj"
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"

# Inventories come over the network; a build without it must not fail, so nothing depends on them.
intersphinx_mapping: dict[str, tuple[str, str | None]] = {}
