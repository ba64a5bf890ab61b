"""Imports a module, and prints the loaded modules whose names begin so. Arguments: the module, the beginning."""

import importlib
import sys

importlib.import_module(sys.argv[1])
print(*sorted(name for name in sys.modules if name.startswith(sys.argv[2])), sep="\n")
