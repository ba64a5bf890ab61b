"""The page on Python is true: its examples run, in order, as one script of a user's."""

import re
from pathlib import Path

import pytest

from commands_and_data import run_script

LOAD_ONCE = """
import functools
from modiste.data import dataset
dataset.load_split_images = functools.cache(dataset.load_split_images)  # a dozen examples read the same images
"""
PAGE = Path(__file__).parents[2] / "docs" / "python.md"


@pytest.mark.slow
def test_the_examples_run_in_order(tmp_path: Path) -> None:
    script = tmp_path / "page.py"
    page = PAGE.read_text(encoding="utf-8")
    page = page.replace("images_per_class=500", "images_per_class=100")  # it need not learn much
    examples = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    script.write_text("\n\n".join([LOAD_ONCE, *examples]), encoding="utf-8")
    done = run_script(script, cwd=tmp_path, timeout=250)
    assert done.returncode == 0, done.stderr
    assert "picture 2" in done.stdout
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == [
        "sprint",
        "sprint-2",
        "sprint-3",
        "sprint-4",
        "sprint-net",
        "wider",
    ]
