"""Sphinx configuration. Build: python -m sphinx -W -b html docs docs/_build"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from docutils import nodes
from sphinx import addnodes
from sphinx.util.nodes import make_refnode

from trealtime import __version__

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "trealtime"
author = "trealtime contributors"
copyright = "2026, trealtime contributors"
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.intersphinx", "sphinx_copybutton", "sphinx_design"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

# The copy button takes the commands of a console block, without the prompt and what they print.
copybutton_prompt_text = "$ "
copybutton_only_copy_prompt_lines = True

html_theme = "furo"
html_title = f"trealtime {release}"
pygments_dark_style = "github-dark"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_search_scorer = str(Path(__file__).parent / "scorer.js")
exclude_patterns = ["_build"]

# Docstrings write `Name` for names of this library and for parameters: a link where there is one, else code.
default_role = "py:obj"
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "all"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
maximum_signature_line_length = 88
toc_object_entries_show_parents = "hide"

# Inventories come over the network; a build without it must not fail, so nothing depends on them.
intersphinx_mapping: dict[str, tuple[str, str | None]] = {}


def link_by_last_name(app: Sphinx, env: Any, node: Any, shown: nodes.TextElement) -> nodes.reference | None:
    """Link `SlowConsumer` in a docstring to ``trealtime.errors.SlowConsumer``: most names have a module."""
    name = str(node["reftarget"])
    domain = env.get_domain("py")
    kinds = {"class", "exception", "function", "data"}
    found = [full for full, each in domain.objects.items() if full.endswith(f".{name}") and each.objtype in kinds]
    if not name.isidentifier() or len(found) != 1:
        return None
    target = domain.objects[found[0]]
    return make_refnode(app.builder, node["refdoc"], target.docname, target.node_id, shown, found[0])


def add_dark_pictures(app: Sphinx, doctree: nodes.document) -> None:
    """Put ``picture-dark.svg`` beside each ``picture.svg`` that has one; furo shows the one that fits the theme."""
    for image in list(doctree.findall(nodes.image)):
        light = Path(image["uri"])
        dark = light.with_name(f"{light.stem}-dark{light.suffix}")
        if (Path(app.env.doc2path(app.env.docname)).parent / dark).exists():
            twin = image.deepcopy()
            twin["uri"] = dark.as_posix()
            image["classes"].append("only-light")
            twin["classes"].append("only-dark")
            image.parent.insert(image.parent.index(image) + 1, twin)


def index_keywords(app: Sphinx, doctree: nodes.document) -> None:
    """Make entries of the index of a page's ``keywords:``, for words that people search and the page does not use."""
    keywords = app.env.metadata[app.env.docname].get("keywords", "")
    entries = [("single", word.strip(), "", "main", None) for word in keywords.split(",") if word.strip()]
    if entries:
        doctree.insert(0, addnodes.index(entries=entries))


def setup(app: Sphinx) -> None:
    app.connect("doctree-read", index_keywords)
    # Before Sphinx collects the images of a page.
    app.connect("doctree-read", add_dark_pictures, priority=100)
    app.connect("missing-reference", link_by_last_name)
