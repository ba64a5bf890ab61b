"""Searches one trial by the library's function, and leaves the environment as it was.

Arguments: the recipe's file, the folder of images. It stands in a folder of its own, as an installed command does.
"""

import os
import sys
from pathlib import Path

from modiste.recipes import recipe
from modiste.searches.plan import Plan
from modiste.searches.search import search

if __name__ == "__main__":
    before = dict(os.environ)
    plan = Plan(recipe=recipe.load(Path(sys.argv[1])), space=("epochs=choice(1,2)",), sampler="grid", trials=1)
    print([row.state for row in search(plan, "s", device="cpu", data_folder=sys.argv[2])])
    assert before == dict(os.environ)
