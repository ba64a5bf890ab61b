"""A recipe of six short epochs as a file, and its run that nobody disturbed."""

import json
from pathlib import Path

import pytest
from run_equality import LONG, words_for

from commands_and_data import run_modiste
from modiste.recipes.plain import to_plain


@pytest.fixture(scope="session")
def recipe_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipes") / "long.json"
    path.write_text(json.dumps(to_plain(LONG)))
    return path


@pytest.fixture(scope="session")
def undisturbed(recipe_file: Path, tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    done = run_modiste(*words_for(recipe_file, tiny_folder, out))
    assert done.returncode == 0, done.stderr
    return out
