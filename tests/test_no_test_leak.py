"""Nothing that trains or selects reaches the test set: by the source, and by what a real run opens."""

import ast
import tomllib
from pathlib import Path

import pytest

import modiste
from commands_and_data import PROGRAMS, run_without_modiste, write_pictures
from modiste.cli import main

SOURCE = Path(modiste.__file__).parent
MAY_REACH_IT = {
    *("data/held_out.py", "evaluation/assessment.py", "evaluation/other_data.py"),
    *("cli/data.py", "cli/audit.py"),
}
"""The door itself, its one user, the command that verifies the files, and that which looks for copies when told to."""
SECRET_NAMES = {"held_out", "load_held_out", "load_held_out_pictures", "load_test", "verify_all", "TEST"}
SECRET_WORDS = ("t10k", "load_held_out")
MODULES = sorted(str(path.relative_to(SOURCE)) for path in SOURCE.rglob("*.py"))


def docstrings(tree: ast.AST) -> set[int]:
    """The identities of the strings that stand alone: explanations, not names of files."""
    statements = (node for node in ast.walk(tree) if isinstance(node, ast.Expr))
    return {id(node.value) for node in statements if isinstance(node.value, ast.Constant)}


def mentions(tree: ast.AST) -> list[str]:
    """Every way in which a syntax tree can reach held_out.py: imports, attributes, names, strings."""
    found, explained = [], docstrings(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            words = [
                *(getattr(node, "module", None) or "").split("."),
                *(part for a in node.names for part in a.name.split(".")),
            ]
            found += [f"line {node.lineno}: imports {word}" for word in words if word in SECRET_NAMES - {"TEST"}]
        elif isinstance(node, ast.Attribute) and node.attr in SECRET_NAMES:
            found.append(f"line {node.lineno}: uses .{node.attr}")
        elif isinstance(node, ast.Name) and node.id in SECRET_NAMES - {"TEST"}:
            found.append(f"line {node.lineno}: uses {node.id}")
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in explained:
            words = [*SECRET_WORDS, "modiste.data.held_out", "data.held_out"]
            found += [f"line {node.lineno}: holds {word!r}" for word in words if word in node.value]
    return found


def test_the_source_is_found() -> None:
    assert {"data/held_out.py", "data/sources.py", "training/loop.py", "evaluation/assessment.py"} <= set(MODULES)


@pytest.mark.parametrize("module", [name for name in MODULES if name not in MAY_REACH_IT])
def test_no_other_module_mentions_the_door(module: str) -> None:
    assert mentions(ast.parse((SOURCE / module).read_text(encoding="utf-8"))) == []


def test_the_door_and_its_user_would_be_noticed() -> None:
    """Else the test before this one would prove nothing."""
    for module in ("data/held_out.py", "evaluation/assessment.py"):
        assert mentions(ast.parse((SOURCE / module).read_text(encoding="utf-8")))
    for hidden in (
        "import modiste.data.held_out",
        "from modiste.data import held_out",
        "from modiste.data.held_out import load_held_out as harmless",
        "import modiste.data as d; d.held_out.load_held_out('x')",
        "import importlib; importlib.import_module('modiste.data.held_out')",
        "open('t10k-images-idx3-ubyte')",
    ):
        assert mentions(ast.parse(hidden)), hidden


def opened_by(*words: object, **variables: str) -> str:
    """Run a command in a process of its own and return what it opened."""
    done = run_without_modiste(PROGRAMS / "list_opened_files.py", *words, **variables)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def fashion() -> Path:
    from modiste.data import held_out

    return held_out.verify_all()[0].path.parent


def test_training_on_fashion_mnist_opens_no_test_file(fashion: Path, tmp_path: Path) -> None:
    """The system's own record of a real run; a later look at test shows that the record is complete."""
    out = tmp_path / "run"
    words = ["--epochs", 1, "--data.validation-fraction", 0.97, "--data-folder", fashion, "--device", "cpu"]
    trained = opened_by("train", "perceptron", "--out", out, *words)
    assert "train-images-idx3-ubyte" in trained
    assert "train-labels-idx1-ubyte" in trained
    assert "t10k" not in trained
    assert "held_out was not loaded" in trained
    tested = opened_by("evaluate", out, "--split", "test", "--data-folder", fashion)
    assert "t10k-images-idx3-ubyte" in tested
    assert "t10k-labels-idx1-ubyte" in tested
    measured_again = opened_by("evaluate", out, "--data-folder", fashion)
    assert "t10k" not in measured_again


def test_training_on_own_pictures_opens_none_of_the_test_share(tmp_path: Path) -> None:
    """Of pictures that nobody has divided a share is drawn, which only evaluation on test opens; the audit if told."""
    names = set(write_pictures(tmp_path / "own", {"a": 20, "b": 20}))
    words = ["--data.source", tmp_path / "own", "--data.pictures", "whole", "--epochs", 1, "--device", "cpu"]
    cache = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    trained = opened_by("train", "perceptron", "--out", tmp_path / "run", *words, **cache)
    assert "held_out was not loaded" in trained
    seen = {name for name in names if f"own/{name}\n" in trained}
    assert len(seen) == 34
    audited = opened_by(
        "data", "audit", tmp_path / "own", "--pictures", "whole", "--folds", 0, "--out", tmp_path / "found", **cache
    )
    assert {name for name in names if f"own/{name}\n" in audited} == seen
    tested = opened_by("evaluate", tmp_path / "run", "--split", "test", **cache)
    assert {name for name in names if f"own/{name}\n" in tested} == names - seen


def test_of_the_test_images_data_prints_number_and_size_alone(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It opens them to see that they are whole; what is on them, and of which classes they are, stays unsaid."""
    monkeypatch.setattr("modiste.data.pictures.picture_cache.picture_cache_folder", lambda: tmp_path / "cache")
    write_pictures(tmp_path / "own", {"a": 12, "b": 12})
    for source, line in (
        (tiny_folder, "test: 100 images of 12 x 12"),
        (tmp_path / "own", "test, held out: 4 images of 28"),
    ):
        main.main(["data", str(source), "--pictures", "whole"])
        printed = capsys.readouterr().out
        assert printed.count("mean") == printed.count("standard deviation") < printed.count(" images of ")
        after = printed[printed.index(line) :].splitlines()
        assert after[0].startswith(line)
        assert "mean" not in "".join(after)
        assert not any(text.startswith("    ") for text in after)


def test_nothing_that_trains_searches_or_audits_may_import_the_door() -> None:
    project = tomllib.loads((SOURCE.parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = project["tool"]["importlinter"]["contracts"]
    (contract,) = [one for one in contracts if one.get("forbidden_modules") == ["modiste.data.held_out"]]
    assert {f"modiste.{name}" for name in ("training", "models", "recipes", "searches", "audits")} <= set(
        contract["source_modules"]
    )
    assert contract["allow_indirect_imports"] is False
