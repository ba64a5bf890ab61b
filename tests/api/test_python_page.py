"""The page on Python is true: its examples run, in order, as one script of a user's."""

import re
import subprocess
import sys
from pathlib import Path

from commands_and_data import child_environment

PAGE = Path(__file__).parents[2] / "docs" / "python.md"


def test_the_examples_run_in_order(tmp_path: Path) -> None:
    script = tmp_path / "page.py"
    script.write_text("\n\n".join(re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)))
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env=child_environment(),
        capture_output=True,
        text=True,
        timeout=250,
    )
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
