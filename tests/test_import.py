"""Importing Modiste and asking it for help costs nothing; its public names are these and no others."""

import subprocess
import sys
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import modiste
from commands_and_data import PROGRAMS, child_environment, run_modiste, run_python, run_without_modiste

PUBLIC = [
    "RECIPES",
    "Dataset",
    "Listener",
    "ModisteError",
    "Predictor",
    "Recipe",
    "Run",
    "__version__",
    "audit",
    "benchmark",
    "benchmark_all",
    "compare",
    "compare_averaging",
    "continue_run",
    "cross_validate",
    "drift",
    "evaluate",
    "evaluate_ensemble",
    "evaluate_seeds",
    "export",
    "figures",
    "get_recipe",
    "load_dataset",
    "photo",
    "predict",
    "report",
    "reproduce",
    "search",
    "show",
    "train",
    "train_seeds",
    "with_own_code",
]


@cache
def other_packages() -> set[str]:
    """Top names of the packages that are installed beside Modiste; setuptools adds one to every process."""
    return set(packages_distributions()) - {"modiste", "_distutils_hack"}


def modules_after(script: str) -> set[str]:
    """The top names of what a fresh process has imported after ``script``."""
    ending = "\nimport sys; print('MODULES', *sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run(
        [sys.executable, "-c", script + ending],
        env=child_environment(),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return set(done.stdout.splitlines()[-1].split()[1:])


@pytest.mark.parametrize(
    "script",
    [
        "import modiste",
        "import modiste; modiste.__version__; dir(modiste)",
        "from modiste import ModisteError",
        "from modiste.cli.main import main; main([])",
        "from modiste.cli.main import main; main(['--help'])",
        "from modiste.cli.main import main; main(['--version'])",
    ],
)
def test_no_other_package_is_imported(script: str) -> None:
    imported = modules_after(script)
    assert "modiste" in imported
    assert imported & other_packages() == set()


@pytest.mark.parametrize(
    "script", ["import modiste; modiste.Recipe(name='x')", "import modiste; modiste.RECIPES['paper']()"]
)
def test_a_recipe_needs_no_torch(script: str) -> None:
    assert modules_after(script) & {"torch", "numpy", "matplotlib", "tyro"} == set()


@pytest.mark.parametrize("words", [[], ["--help"], ["train", "--help"], ["train", "sprint", "--help"]], ids=str)
def test_help_of_the_real_command_imports_no_other_package(words: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "modiste", *words],
        env=child_environment(),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines() if "|" in line}
    assert "modiste" in imported
    assert imported & other_packages() == set()
    assert "modiste" in done.stdout


def test_no_run_loads_the_compiler_of_torch(tiny_folder: Path, tmp_path: Path) -> None:
    """It takes most of a second, and torch's own optimizers load it at their first call."""
    done = run_without_modiste(PROGRAMS / "list_compiler_modules.py", tiny_folder, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_module_that_the_guide_names_is_there_after_the_import() -> None:
    done = run_python("-c", "import modiste; print(modiste.photo.garment.prepare.__name__)")
    assert (done.returncode, done.stdout) == (0, "prepare\n")


def test_the_public_names() -> None:
    assert modiste.__all__ == PUBLIC
    assert set(dir(modiste)) == {*PUBLIC, "__version__"}
    for name in PUBLIC:
        assert getattr(modiste, name) is not None
    with pytest.raises(AttributeError, match="module 'modiste' has no attribute 'tarin'"):
        _ = modiste.tarin  # type: ignore[attr-defined]


def test_the_public_names_are_what_they_say() -> None:
    from modiste import errors
    from modiste.api import benchmarks, results, run, studies, training
    from modiste.data import dataset
    from modiste.photo import garment
    from modiste.recipes import named, recipe

    assert modiste.Recipe is recipe.Recipe
    assert modiste.ModisteError is errors.ModisteError
    assert modiste.RECIPES is named.RECIPES
    assert modiste.get_recipe is named.get
    assert modiste.train is training.train
    assert modiste.train_seeds is training.train_seeds
    assert modiste.Run is run.Run
    assert modiste.benchmark is benchmarks.benchmark
    assert modiste.benchmark_all is benchmarks.benchmark_all
    for name in ("audit", "cross_validate", "search", "reproduce"):
        assert getattr(modiste, name) is getattr(studies, name)
    for name in ("compare", "drift", "evaluate", "evaluate_seeds", "export", "figures", "predict", "report", "show"):
        assert getattr(modiste, name) is getattr(results, name)
    assert modiste.photo.garment.prepare is garment.prepare
    assert modiste.load_dataset is dataset.load_development


def test_the_version_is_told() -> None:
    assert run_modiste("--version").stdout == f"modiste {modiste.__version__}\n"
