"""Imports modules and draws, as in a notebook that has asked for a backend; prints the backend of matplotlib.

Arguments: the modules with commas between, the backend.
"""

import importlib
import os
import sys

for name in sys.argv[1].split(","):
    importlib.import_module(name)
import matplotlib as mpl  # noqa: E402 - not before

from modiste.reports.concepts import neural_network  # noqa: E402
from modiste.reports.style import render  # noqa: E402

assert len(render(neural_network(), "png")) > 1000
assert os.environ["MPLBACKEND"] == sys.argv[2]
print(mpl.get_backend(auto_select=False))
