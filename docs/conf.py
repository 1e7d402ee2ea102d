"""The site: `make docs`."""

from __future__ import annotations

import metlog

project = "metlog"
author = "The metlog authors"
copyright = "the metlog authors"  # noqa: A001 - Sphinx's own name
release = version = metlog.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
suppress_warnings = ["myst.xref_missing"]  # links to files of the repository, which the site does not hold
html_theme = "furo"
html_title = "metlog"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "show-inheritance": False}
default_role = "code"
