"""Settings of the documentation site: make docs.

Sphinx reads the whole checkout (``sphinx-build -c docs . dist/docs``), so that the pages' relative links to records and
files of the source work on the site as they do in the repository. What this file does not say is in ``extensions``.
"""

import hashlib
import os
import sys
from pathlib import Path

DOCS = Path(__file__).parent
sys.path.append(str(DOCS / "extensions"))
os.environ["NO_COLOR"] = "1"  # of the commands whose help is shown

from modiste.version import __version__  # noqa: E402 - after the path


def source_digest() -> str:
    """Return a hash of the library, so that outputs of another version are not taken from the cache."""
    files = sorted((DOCS.parent / "src").rglob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:16]


project = "Modiste"
author = "The Modiste founders"
release = version = __version__
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_llms_txt",
    "flowchart",
    "repository_pages",
    "reference_pages",
]

root_doc = "docs/index"
include_patterns = ["*.md", "docs/**", "records/**"]
exclude_patterns = [".*", "benchmarks", "dist", "docs/extensions", "runs", "site", "src", "tests"]

myst_fence_as_directive = ["mermaid"]
myst_heading_anchors = 4
nb_ipywidgets_js: dict[str, dict[str, str]] = {}  # pages load nothing from other sites
nb_execution_mode = "cache"
nb_execution_cache_path = str(DOCS.parent / "dist" / "notebooks" / source_digest())
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 600  # seconds a cell; a slow machine is no fault
nb_merge_streams = True

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
add_module_names = False
napoleon_attr_annotations = False  # the shapes in annotations are no reStructuredText
copybutton_prompt_text = r">>> |\.\.\. "
copybutton_prompt_is_regexp = True

html_theme = "furo"
html_title = "Modiste"
html_show_copyright = False
html_extra_path = ["extensions/index.html"]
llms_txt_title = "Modiste"
llms_txt_summary = "Train, measure, compare and ship classifiers for Fashion-MNIST and image sets of its kind."
llms_txt_full_file = True
