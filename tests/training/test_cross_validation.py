"""Cross-validation: every image is held out once, by folds that hold the classes evenly, and nothing else is seen."""

import json
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev
from typing import NoReturn

import pytest
import torch
from scipy.stats import t as student

import modiste
from commands_and_data import run_modiste, tiny_files
from listeners import StopAfter
from modiste.cli import main
from modiste.data.dataset import load_split_images
from modiste.data.folds import fold_split
from modiste.errors import MissingExtraError, RecipeError, RunError, StoppedError
from modiste.evaluation import statistics
from modiste.evaluation.assessment import evaluate
from modiste.evaluation.statistics import fold_spread
from modiste.recipes import own_code
from modiste.recipes.plain import to_plain
from modiste.recipes.recipe import Recipe, TransferRecipe
from modiste.runs import run_folder
from modiste.runs.run_folder import open_run
from modiste.training.cross_validation import RESULT, CrossValidation, cross_validate

FOLDS = 3


@pytest.fixture(scope="module")
def recipe(tiny_recipe: Recipe) -> Recipe:
    return replace(tiny_recipe, epochs=1, seed=4)


@pytest.fixture(scope="module")
def found(recipe: Recipe, tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> CrossValidation:
    out = tmp_path_factory.mktemp("folds") / "tiny"
    return cross_validate(recipe, out, folds=FOLDS, device="cpu", data_folder=tiny_folder)


def test_every_image_is_held_out_once(recipe: Recipe, tiny_folder: Path) -> None:
    known = load_split_images(recipe.data, tiny_folder)
    splits = [fold_split(known, FOLDS, number, seed=0) for number in range(FOLDS)]
    held_out = torch.cat([split.validation for split in splits])
    assert held_out.sort().values.equal(torch.arange(len(known.images)))
    for split in splits:
        counts = torch.bincount(known.images.labels[split.validation])
        assert int(counts.max() - counts.min()) <= 1
        assert torch.cat([split.train, split.validation]).sort().values.equal(torch.arange(len(known.images)))
    assert len({known.fingerprint, *(split.fingerprint for split in splits)}) == FOLDS + 1


def test_the_runs_are_measured_on_their_folds(found: CrossValidation, recipe: Recipe, tiny_folder: Path) -> None:
    known = load_split_images(recipe.data, tiny_folder)
    for number, accuracy in enumerate(found.accuracies):
        run = open_run(found.folder / f"fold-{number + 1}-of-{FOLDS}")
        logits, labels = run_folder.read_logits(run.folder / run_folder.VALIDATION_LOGITS)
        assert labels.equal(known.images.labels[fold_split(known, FOLDS, number, seed=0).validation])
        assert float((logits.argmax(1) == labels).float().mean()) == pytest.approx(accuracy)
        assert (run.recipe.seed, run.test_openings) == (4 + number, 0)
    assert found.images == 480
    assert found.spread.mean == pytest.approx(mean(found.accuracies))


def test_the_interval_is_that_of_nadeau_and_bengio() -> None:
    accuracies = [0.90, 0.92, 0.91, 0.93]
    half = student.ppf(0.975, 3) * stdev(accuracies) * (1 / 4 + 1 / 3) ** 0.5
    assert fold_spread(accuracies, 1 / 3).interval == pytest.approx((0.915 - half, 0.915 + half))
    for wrong, share in (([0.9], 0.5), ([0.9, 0.8], 0.0)):
        with pytest.raises(ValueError, match="expected at least 2 folds"):
            fold_spread(wrong, share)


def test_the_interval_counts_the_images_that_were_trained_on(
    recipe: Recipe, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not all that are not held out, and each once."""
    shares = []

    def recorded(accuracies: list[float], held_out_share: float) -> statistics.Spread:
        shares.append(held_out_share)
        return fold_spread(accuracies, held_out_share)

    monkeypatch.setattr("modiste.training.cross_validation.fold_spread", recorded)
    where = {"folds": FOLDS, "device": "cpu", "data_folder": tiny_folder}
    for data, trained in ((recipe.data, 320), (replace(recipe.data, images_per_class=8, repeats=2), 40)):
        cross_validate(replace(recipe, data=data), tmp_path / str(trained), **where)  # type: ignore[arg-type]
        assert shares[-1] == 160 / trained
        run = open_run(tmp_path / str(trained) / f"fold-1-of-{FOLDS}")
        assert run.history[-1].step == -(-trained * data.repeats // recipe.batch_size)


def test_a_fold_is_not_mistaken_for_a_run_of_the_usual_split(found: CrossValidation, tiny_folder: Path) -> None:
    fold = found.folder / f"fold-1-of-{FOLDS}"
    for split in ("validation", "test"):
        with pytest.raises(RunError, match=r"other data|not those"):
            evaluate(fold, split=split, data_folder=tiny_folder)  # type: ignore[arg-type]
    assert evaluate(fold).accuracy == found.accuracies[0]


def test_stopped_in_the_second_fold_it_goes_on(
    found: CrossValidation, recipe: Recipe, tiny_folder: Path, tmp_path: Path
) -> None:
    where = {"folds": FOLDS, "device": "cpu", "data_folder": tiny_folder}
    with pytest.raises(StoppedError):
        cross_validate(recipe, tmp_path, listeners=lambda fold: [StopAfter(9)] if fold == 1 else [], **where)  # type: ignore[arg-type]
    assert not (tmp_path / RESULT).exists()
    first = (tmp_path / "fold-1-of-3" / "model.safetensors").stat().st_mtime_ns
    again = cross_validate(recipe, tmp_path, **where)  # type: ignore[arg-type]
    assert (tmp_path / "fold-1-of-3" / "model.safetensors").stat().st_mtime_ns == first
    assert again.accuracies == found.accuracies
    for number in range(1, FOLDS + 1):
        name = f"fold-{number}-of-{FOLDS}/model.safetensors"
        assert (tmp_path / name).read_bytes() == (found.folder / name).read_bytes()


def test_what_is_refused(
    found: CrossValidation, recipe: Recipe, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folds in (-1, 0, 1, 500):
        with pytest.raises(RecipeError, match=f"folds: expected 2 to .*, found {folds}"):
            cross_validate(recipe, tmp_path, folds=folds, data_folder=tiny_folder)
    with pytest.raises(RunError, match="holds a run of another recipe"):
        cross_validate(replace(recipe, epochs=2), found.folder, folds=FOLDS, data_folder=tiny_folder)
    other = tmp_path / "other"
    other.mkdir()
    for name, content in tiny_files(seed=8).items():
        (other / name).write_bytes(content)
    with pytest.raises(RunError, match="was trained on other images than those found"):
        cross_validate(recipe, found.folder, folds=FOLDS, data_folder=other)
    with pytest.raises(RecipeError, match=r"data\.extra: not possible"):
        cross_validate(replace(recipe, data=replace(recipe.data, extra="more", extra_classes=("x=0",))), tmp_path / "x")
    with pytest.raises(RecipeError, match=r"transfer\.source: expected published weights or none in a cross-validat"):
        cross_validate(replace(recipe, transfer=TransferRecipe(source=64 * "0")), tmp_path / "x")

    def missing(*_: object) -> NoReturn:
        raise MissingExtraError("needs SciPy")

    monkeypatch.setattr(statistics, "quantiles", missing)
    with pytest.raises(MissingExtraError):
        cross_validate(recipe, tmp_path / "y", folds=FOLDS, data_folder=tiny_folder)
    assert not (tmp_path / "y").exists(), "an error before the first fold"


def test_code_of_ones_own_is_named_as_for_training(
    recipe: Recipe, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the recipe of an earlier run, on the command line and then from Python, in new processes."""
    codes = {"network": "Net", "loss": "focal", "augmentation": "noisy"}
    codes = {kind: f"code_of_others:{name}" for kind, name in codes.items()}
    wanted, path = modiste.with_own_code(recipe, **codes), tmp_path / "own.json"
    path.write_text(json.dumps(to_plain(wanted)))
    monkeypatch.setattr(own_code, "_registered", {})
    flags = [word for kind, code in codes.items() for word in (own_code.FLAGS[kind].split()[0], code)]
    words = [path, "--folds", 2, "--out", tmp_path / "folds", "--data-folder", tiny_folder, "--quiet"]
    main.main(["cross-validate", *map(str, words), *flags])
    for number in (1, 2):
        assert open_run(tmp_path / "folds" / f"fold-{number}-of-2").recipe.own_code == wanted.own_code
    monkeypatch.setattr(own_code, "_registered", {})
    modiste.cross_validate(path, tmp_path / "folds", folds=2, data_folder=tiny_folder, quiet=True, **codes)


def test_on_the_command_line(found: CrossValidation, recipe: Recipe, tiny_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "tiny.json"
    path.write_text(json.dumps(to_plain(recipe)))
    words = ("cross-validate", path, "--folds", FOLDS, "--out", found.folder, "--data-folder", tiny_folder)
    done = run_modiste(*map(str, words))
    assert done.returncode == 0, done.stderr
    assert f"mean {found.spread}" in done.stdout
    plain = json.loads(run_modiste(*map(str, words), "--json").stdout)
    kept = json.loads((found.folder / RESULT).read_text(encoding="utf-8"))
    for one in (plain, kept):
        assert (tuple(one["accuracies"]), one["mean"], one["folds"]) == (found.accuracies, found.spread.mean, FOLDS)
        assert "Bengio and Grandvalet" in one["method"]
