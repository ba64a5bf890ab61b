"""Commands in a working directory full of Python files, each named like a module that something imports."""

import os
import shutil
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from commands_and_data import PROGRAMS, child_environment, write_pictures
from fault_counter import Faults, slow_case
from modiste.recipes.networks import MLPRecipe
from modiste.recipes.plain import to_plain
from modiste.recipes.recipe import Recipe
from modiste.runs import storage

COMMAND = """
from modiste.cli.main import main

if __name__ == "__main__":
    main()
"""
"""What an installation writes as the command ``modiste``: its own folder is first on the search path, no other."""
TRAP = """
import sys
with open({log!r}, "a") as log:
    log.write({name!r} + " by " + " ".join(sys.orig_argv)[:200] + "\\n")
"""
MODULES = {*sys.stdlib_module_names, *packages_distributions(), "modiste", "sitecustomize", "usercustomize"}


class Trapped:
    """A working directory, and the command in it."""

    def __init__(self, folder: Path, faults: Faults) -> None:
        self._faults = faults
        self.folder, self._log, self._command = folder / "here", folder / "log", folder / "bin" / "modiste"
        storage.write_text(self._command, COMMAND)
        self.folder.mkdir()
        for name in filter(str.isidentifier, MODULES):
            (self.folder / f"{name}.py").write_text(TRAP.format(log=str(self._log), name=name), encoding="utf-8")

    def run(self, *words: object) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, self._command, *words]
        for _ in self._faults("no code from files: a hostile working directory"):
            done = subprocess.run(
                list(map(str, command)),
                cwd=self.folder,
                env=child_environment(),
                capture_output=True,
                text=True,
                check=False,
                timeout=200,
            )
            assert self.imported() == ""
        return done

    def imported(self) -> str:
        return self._log.read_text(encoding="utf-8") if self._log.exists() else ""


@pytest.fixture
def trapped(tmp_path: Path, faults: Faults) -> Trapped:
    return Trapped(tmp_path, faults)


@pytest.fixture
def recipe(tmp_path: Path, tiny_recipe: Recipe) -> Path:
    small = {**to_plain(tiny_recipe), "epochs": 1, "model": {"kind": "mlp", **to_plain(MLPRecipe(hidden=(4,)))}}
    storage.write_json(tmp_path / "small.json", small)
    return tmp_path / "small.json"


@pytest.mark.parametrize(
    "where",
    [
        slow_case(("--workers", 1), id="processes"),
        slow_case(("--ray", "auto", "--trial-cpus", 0.5), id="ray"),
    ],
)
def test_search(where: tuple[object, ...], trapped: Trapped, recipe: Path, tiny_folder: Path) -> None:
    words = ("--sampler", "grid", "--trials", 1, "--device", "cpu", "--data-folder", tiny_folder)
    done = trapped.run("search", recipe, "epochs=choice(1,2)", *words, *where)
    assert (done.returncode, "best: trial" in done.stdout) == (0, True), done.stderr


@pytest.mark.slow
def test_a_search_begun_from_python(trapped: Trapped, recipe: Path, tiny_folder: Path) -> None:
    shutil.copy(PROGRAMS / "search_from_python.py", recipe.parent / "bin" / "modiste")
    done = trapped.run(recipe, tiny_folder)
    assert done.stdout == "['complete']\n", done.stderr


@pytest.mark.slow
def test_reproduce(trapped: Trapped, tmp_path: Path) -> None:
    done = trapped.run(
        "reproduce", "--quick", "--seeds", 1, "--workers", 1, "--data-folder", tmp_path / "no such folder"
    )
    assert (done.returncode, "no such folder" in done.stderr) == (3, True)


@pytest.mark.slow
def test_serve_of_a_run_that_is_exported_first(trapped: Trapped, finished_run: Path, tmp_path: Path) -> None:
    damaged = shutil.copytree(finished_run, tmp_path / "run")
    os.truncate(damaged / "model.safetensors", 100)
    done = trapped.run("serve", damaged, "--port", 0)
    assert (done.returncode, "could not be exported" in done.stderr) == (4, True)


@pytest.mark.slow
def test_predict_and_data(trapped: Trapped, finished_run: Path, tmp_path: Path) -> None:
    write_pictures(tmp_path / "pictures", {"bags": 4, "coats": 4})
    predicted = trapped.run("predict", finished_run, tmp_path / "pictures" / "bags", "--device", "cpu")
    described = trapped.run("data", tmp_path / "pictures")
    assert "bags" in described.stdout, described.stderr
    assert "000.png" in predicted.stdout + predicted.stderr
