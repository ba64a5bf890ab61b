"""The reference pages hold what the code does: run folders, exit codes, variables, JSON."""

import json
import re
import shutil
import tomllib
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

import jsonschema
import numpy as np
import pytest
import torch
from idx_files import IMAGES, LABELS, TEST_IMAGES, TEST_LABELS, idx, write

from commands_and_data import CLASSES, tiny_files
from modiste import errors
from modiste.cli import main
from modiste.cli.answer_writers import as_plain as answer_as_plain
from modiste.data import paths
from modiste.data.idx.reader import read_idx
from modiste.evaluation.assessment import evaluate
from modiste.evaluation.comparison import compare
from modiste.exports.formats import FORMATS
from modiste.inference.answers import FileAnswer, answers
from modiste.inference.predictor import Predictor
from modiste.models.registry import MODELS, Task, build_model
from modiste.monitoring.answer_log import LoggedAnswers
from modiste.monitoring.drift import compare as compare_answers
from modiste.monitoring.reference import Reference
from modiste.recipes.plain import flatten, to_plain
from modiste.recipes.recipe import Recipe, load
from modiste.runs import checkpoint, manifest, run_folder
from modiste.runs.run_folder import EpochRow, PretrainingRow
from modiste.training import trainer
from modiste.training.cross_validation import cross_validate
from modiste.training.data_pruning import new_order
from modiste.training.setup import Inputs
from modiste.training.state import new_training_state
from modiste.training.transfer.transfer import TransferReport

ROOT = Path(__file__).parents[1]
FOLDER_PAGE = (ROOT / "docs" / "run-folder.md").read_text(encoding="utf-8")
REFERENCE = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
SCHEMAS = ROOT / "docs" / "schemas"


def section(page: str, heading: str) -> set[str]:
    """The names in the first column of the table under a heading."""
    return named(page.partition(f"\n## {heading}\n")[2].partition("\n## ")[0])


def named(text: str) -> set[str]:
    """The names in the first column of a page's tables."""
    rows = re.findall(r"^\| (`[^|]+) \|", text, re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row)}


def fields_in(path: Path) -> set[str]:
    return set(checkpoint.read(path)[1])


class TestRunFolder:
    @pytest.fixture
    def run(self, finished_run: Path, tiny_folder: Path, tmp_path: Path) -> Path:
        folder = Path(shutil.copytree(finished_run, tmp_path / "evaluated"))
        evaluate(folder, split="test", data_folder=tiny_folder)
        return folder

    def test_every_file_of_a_real_run_has_a_row(self, run: Path) -> None:
        names = {name.rstrip("/") for name in named(FOLDER_PAGE.partition("\n## ")[0])}
        assert {path.name for path in run.iterdir()} <= names
        assert {*run_folder.WRITTEN, *run_folder.ALWAYS, run_folder.IMAGES, manifest.NAME} <= names

    @pytest.mark.parametrize("name", ["log.jsonl", "timing.jsonl"])
    def test_lines_have_the_fields_of_the_page(self, run: Path, name: str) -> None:
        for line in (run / name).read_text(encoding="utf-8").splitlines():
            assert set(json.loads(line)) == section(FOLDER_PAGE, f"`{name}`")

    def test_rows_and_reports_have_the_fields_of_the_page(self) -> None:
        for name, kind in (
            ("log.jsonl", EpochRow),
            ("pretraining.jsonl", PretrainingRow),
            ("transfer.json", TransferReport),
        ):
            assert {item.name for item in fields(kind)} == section(FOLDER_PAGE, f"`{name}`")

    def test_facts_and_manifest(self, run: Path) -> None:
        facts = json.loads((run / "facts.json").read_text(encoding="utf-8"))
        assert set(facts) == {"starts", "seal"}
        assert all(set(start) == section(FOLDER_PAGE, "`facts.json`") for start in facts["starts"])
        manifest = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
        assert set(manifest) == section(FOLDER_PAGE, "`manifest.json`")

    def test_headers_of_tensors(self, run: Path, tiny_recipe: Recipe, tiny_folder: Path, tmp_path: Path) -> None:
        model = section(FOLDER_PAGE, "`model.safetensors`")
        assert fields_in(run / "model.safetensors") == fields_in(run / "last.safetensors") == model - {"temperature"}
        assert fields_in(run / "test-logits.safetensors") == section(FOLDER_PAGE, "`validation-logits.safetensors`")
        trainer.train(replace(tiny_recipe, ema_decay=0.9, epochs=1), tmp_path / "run", Inputs(tiny_folder))
        [state] = (tmp_path / "run" / run_folder.STATES).iterdir()
        assert set(checkpoint.read(state)[1]) == section(FOLDER_PAGE, "`checkpoints`")

    def test_the_tensors_of_a_training_state(self, tiny_recipe: Recipe, tmp_path: Path) -> None:
        model = build_model(tiny_recipe.model, Task(image_shape=(1, 12, 12), class_names=tuple("abcde")))
        state = new_training_state(model, replace(tiny_recipe, ema_decay=0.9))
        state.order = new_order(replace(tiny_recipe, data_pruning=0.5), images=10)
        state.picked, state.snapshots = model.state_dict(), [model.state_dict()]
        next(model.parameters()).grad = torch.zeros_like(next(model.parameters()))
        state.optimizer.step()  # which makes its tensors
        state.save(tmp_path, "fingerprint")
        [path] = tmp_path.iterdir()
        groups = {name.partition(":")[0].replace("-1", "-N") for name in checkpoint.read(path)[0]}
        named = {"model", "optimizer", "average", "picked", "snapshot-N", "order"}
        assert groups == set(re.findall(r"`([\w-]+):NAME", FOLDER_PAGE)) == named


def test_every_exit_code_is_listed() -> None:
    listed = set(map(int, re.findall(r"^\| (\d+) \|", REFERENCE, re.MULTILINE)))
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.ModisteError)]
    assert listed == {0, main.USAGE, main.INTERRUPTED, *(kind.exit_code for kind in kinds)}


def test_every_variable_of_modiste_is_listed() -> None:
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py"))
    assert section(REFERENCE, "Environment variables") == set(re.findall(r"\bMODISTE_[A-Z]+\b", source))
    assert paths.FOLDER_VARIABLE in source


class TestRecipeFiles:
    PAGE = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")

    def test_the_file_on_the_page_is_a_recipe(self, tmp_path: Path) -> None:
        [text] = re.findall(r"^```toml\n(.*?)^```", self.PAGE, re.MULTILINE | re.DOTALL)
        (tmp_path / "mine.toml").write_text(text, encoding="utf-8")
        found = load(tmp_path / "mine.toml")
        named_by_file = dict(flatten(tomllib.loads(text)))
        assert {name: value for name, value in flatten(to_plain(found)) if name in named_by_file} == named_by_file

    def test_every_choice_is_listed(self) -> None:
        rows = re.findall(r"^\| `([\w.]+)` \| (.+) \|$", self.PAGE, re.MULTILINE)
        listed = {field: set(re.findall(r"`([\w-]+)`", choices)) for field, choices in rows}
        assert listed.pop("model.kind") == {kind.KIND for kind in MODELS}
        assert listed == {field: choices_of(field) for field in listed}
        assert listed.keys() >= {"optimizer.name", "schedule.shape", "objective", "warm_start"}


def choices_of(field: str) -> set[str]:
    """What a field of the recipe may be."""
    *parts, name = field.split(".")
    kind: Any = Recipe
    for part in parts:
        kind = get_type_hints(kind)[part]
    return set(get_args(get_type_hints(kind)[name]))


def test_every_format_of_export_is_listed() -> None:
    page = (ROOT / "docs" / "export.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)`(?: \(default\))? \| `([\w.]+)`", page, re.MULTILINE)
    assert dict(rows) == {name: kind.name for name, kind in FORMATS.items()}


def schema(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((SCHEMAS / f"{name}.json").read_text(encoding="utf-8"))
    return found


def check(name: str, printed: Any) -> None:
    jsonschema.Draft202012Validator.check_schema(schema(name))
    jsonschema.validate(json.loads(json.dumps(printed)), schema(name), cls=jsonschema.Draft202012Validator)


class TestSchemas:
    def test_every_command_with_json_has_one(self) -> None:
        from modiste.cli.completion import options_of

        names = [*main.COMMANDS, "data audit"]
        with_json = {name.split()[-1] for name in names if any(_has_json(kind) for kind in options_of(name))}
        assert with_json == {path.stem for path in SCHEMAS.glob("*.json")}
        assert all(f"(schemas/{name}.json)" in REFERENCE for name in with_json)

    def test_evaluate(
        self,
        finished_run: Path,
        tiny_recipe: Recipe,
        tiny_folder: Path,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        trainer.train(replace(tiny_recipe, seed=1), tmp_path / "other", Inputs(tiny_folder), device="cpu")
        others, run = write(tmp_path / "others", tiny_files(seed=8)), shutil.copytree(finished_run, tmp_path / "run")
        both = [run, tmp_path / "other"]
        for words in (
            [run],
            both,
            [*both, "--ensemble", "--fit-weights"],
            [run, "--averaging", "--data-folder", tiny_folder],
            [run, "--data", others],
        ):
            main.main(["evaluate", *map(str, words), "--json"])
            check("evaluate", json.loads(capsys.readouterr().out))

    def test_cross_validate(self, tiny_recipe: Recipe, tiny_folder: Path, tmp_path: Path) -> None:
        recipe = replace(tiny_recipe, epochs=1)
        found = cross_validate(recipe, tmp_path, folds=2, device="cpu", data_folder=tiny_folder)
        check("cross-validate", found.as_plain())

    def test_compare(self, finished_run: Path, tiny_recipe: Recipe, tiny_folder: Path, tmp_path: Path) -> None:
        runs = [tmp_path / name for name in ("0", "1", "other-0", "other-1")]
        for number, run in enumerate(runs):
            recipe = replace(tiny_recipe, epochs=1, seed=number % 2, batch_size=8 if number < 2 else 4)
            trainer.train(recipe, run, Inputs(tiny_folder), device="cpu")
        check("compare", compare([finished_run, runs[0]]).as_plain())
        check("compare", compare(runs[:2]).as_plain())
        check("compare", compare(runs).as_plain())

    def test_predict(self, photo_run: Path, tmp_path: Path) -> None:
        from PIL import Image, ImageDraw

        photo = Image.new("L", (90, 120), 240)
        ImageDraw.Draw(photo).rectangle((25, 20, 65, 100), fill=60)
        photo.save(tmp_path / "a.png")
        (tmp_path / "b.png").write_bytes(b"nothing")
        predictor = Predictor.load(photo_run, device="cpu")
        found: list[FileAnswer] = list(answers(predictor, ((str(p), p) for p in sorted(tmp_path.iterdir()))))
        assert [bool(one.fault) for one in found] == [False, True]
        check("predict", [answer_as_plain(one) for one in found])

    def test_drift(self) -> None:
        random = np.random.default_rng(0)
        for number, novelty in ((10, random.random(10)), (200, None), (400, random.random(400) + 1)):
            columns = random.integers(0, 3, number), random.random(number), novelty
            reference = Reference.of(*columns, 3)
            logged = LoggedAnswers(*columns, ("2026-11-28", "2026-11-28"))
            check("drift", compare_answers(reference, logged, ("a", "b", "c")).as_plain())

    def test_audit(self, tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """One image is there twice, another almost."""
        images, labels = (read_idx(tiny_folder / name).array.copy() for name in (IMAGES, LABELS))
        images[1], labels[1] = images[0], (labels[0] + 1) % CLASSES
        images[3] = images[2]
        images[3, 0, 0] ^= 1
        folder = write(tmp_path / "set", {IMAGES: idx(images), LABELS: idx(labels)})
        for name in (TEST_IMAGES, TEST_LABELS):
            shutil.copy(tiny_folder / name, folder / name)
        words = ["data", "audit", str(folder), "--folds", "0", "--out", str(tmp_path / "audit"), "--json"]
        main.main(words)
        printed = json.loads(capsys.readouterr().out)
        assert printed["exact"]
        assert printed["near"]
        suspicious = {"file": "a", "label": "b", "looks_like": "c", "margin": 0.5, "wrong": 0.5}
        check("audit", {**printed, "suspicious": [suspicious]})

    def test_a_changed_output_is_noticed(self, finished_run: Path) -> None:
        printed = evaluate(finished_run).as_plain()
        for wrong in ({**printed, "surplus": 1}, {**printed, "accuracy": 2.0}, {"accuracy": 0.5}):
            with pytest.raises(jsonschema.ValidationError):
                check("evaluate", wrong)


def _has_json(kind: type) -> bool:
    return any(item.name == "json" for item in fields(kind))
