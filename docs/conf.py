"""Settings of the site: `sphinx-build -W --keep-going docs docs/_build`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import site_parts

import convnet

project = "convnet"
author = "The convnet developers"
version = release = convnet.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "site_parts",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.viewcode",
    "sphinx_gallery.gen_gallery",
]
templates_path = ["_templates"]
exclude_patterns = ["_build", "_templates", "chapters", "sg_execution_times.rst", "*/sg_execution_times.rst"]
nitpicky = True  # a name that cannot be found is a warning
smartquotes = False  # two hyphens are the beginning of an option

# Pages in Markdown: a link to a heading is written as on a repository's web page.
myst_heading_anchors = 3

# The API, from the docstrings. Types are in their text, and a name in `backquotes` becomes a link if it has a page.
default_role = "py:obj"
add_module_names = False
autodoc_typehints = "none"
autodoc_member_order = "bysource"
autodoc_inherit_docstrings = False
autodoc_default_options = {"exclude-members": "set_fit_request, set_partial_fit_request, set_score_request"}
autosummary_context = {"derived": site_parts.derived(), "loops": site_parts.loops()}
numpydoc_show_class_members = False

# The chapters and the examples. All chapters run; of the examples, one that takes seconds.
sphinx_gallery_conf = {
    "examples_dirs": ["chapters", "../examples"],
    "gallery_dirs": ["chapters_gallery", "examples_gallery"],
    "filename_pattern": r"chapters/\d\d_|examples/overfit_small_data\.py",
    "ignore_pattern": r"drawing\.py",
    "within_subsection_order": "FileNameSortKey",
    "image_scrapers": ("matplotlib", "site_parts.saved_figures"),
    "default_thumb_file": str(Path(__file__).parent / "_static" / "mark.svg"),
    "image_srcset": ["2x"],
    "abort_on_example_error": False,
    "download_all_examples": False,
    "show_signature": False,
    "min_reported_time": 1e6,
}

html_theme = "furo"
html_title = "convnet"
html_logo = "_static/mark.svg"
html_favicon = "_static/mark.svg"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_math_renderer = "mathml"
html_theme_options = {"top_of_page_buttons": []}
html_copy_source = html_show_sourcelink = False
pygments_dark_style = "github-dark"
html_show_copyright = False
html_show_sphinx = False
