"""The site, made from these pages, the docstrings and the command line: ``make docs``."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx

from onnx_gapmil.version import __version__

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the tools of the checkout
from tools.messages import messages_page

project = "onnx-gapmil"
author = "The authors of onnx-gapmil"
version = release = __version__
html_title = f"onnx-gapmil {__version__}"

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_click", "sphinx_copybutton"]
exclude_patterns = ["_build"]
smartquotes = False  # two hyphens are a flag
default_role = "code"

# Headings are linked to as GitHub does it, so that the pages read there too.
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 120

myst_heading_anchors = 4
myst_enable_extensions = ["attrs_block", "substitution"]

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings say shapes and units, which types do not
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

copybutton_prompt_text = "$ "

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_search_scorer = str(Path(__file__).parent / "_static" / "scorer.js")
html_show_sourcelink = False
html_theme_options = {"source_directory": "docs/", "navigation_with_keys": True}

_OUTSIDE = re.compile(r"\[([^\]]+)\]\(\.\./[a-z_]+/README\.md\)")  # of the source alone: its name stays
#: Pages that stand at the repository's root, by their names in the site.
_ROOT_PAGES = {"CONTRIBUTING.md": "contributing.md", "SECURITY.md": "security.md", "CHANGELOG.md": "changelog.md"}


def _lead_to_own_pages(_app: Sphinx, docname: str, source: list[str]) -> None:
    """A link to a page at the root, which a reader of the repository follows, leads to the site's page of it."""
    if "/" not in docname:
        for name, page in _ROOT_PAGES.items():
            source[0] = source[0].replace(f"](../{name}", f"](project/{page}")
        source[0] = _OUTSIDE.sub(r"\1", source[0])


def _list_messages(_app: Sphinx, docname: str, source: list[str]) -> None:
    """The page of all messages is made from the code, so that it cannot be another version's."""
    if docname == "reference/messages":
        source[0] = source[0].replace("<!-- messages -->", messages_page())


def _copy_pictures(app: Sphinx, error: Exception | None) -> None:
    """Pictures within HTML of a page, for light and for dark, are not seen by Sphinx."""
    if error is None and app.builder.format == "html":
        shutil.copytree(Path(app.srcdir) / "images", Path(app.outdir) / "images", dirs_exist_ok=True)


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("build-finished", _copy_pictures)
    app.connect("source-read", _lead_to_own_pages)
    app.connect("source-read", _list_messages)
    app.add_lexer("csv", TextLexer)  # Pygments has none
