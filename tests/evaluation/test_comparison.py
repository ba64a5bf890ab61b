"""Runs against each other: sides by recipe, the difference with its doubt, the images it lies on."""

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev

import numpy as np
import pytest
import torch
from idx_files import TEST_IMAGES, TEST_LABELS, idx

from commands_and_data import run_modiste
from modiste.cli.main import main
from modiste.errors import DataError, MissingExtraError, RunError
from modiste.evaluation.comparison import Comparison, _names, _per_class, _with_most, compare, groups_by_recipe
from modiste.evaluation.ensemble import evaluate_seeds
from modiste.evaluation.statistics import mean_interval, paired_difference
from modiste.evaluation.two_samples import holm
from modiste.recipes.networks import MLPRecipe
from modiste.recipes.recipe import Recipe
from modiste.runs import run_folder
from modiste.training import trainer
from modiste.training.setup import Inputs

Runs = dict[str, Path]


@pytest.fixture(scope="module")
def runs(shared_folder: Callable[..., Path], finished_run: Path, tiny_recipe: Recipe, tiny_folder: Path) -> Runs:
    """Two seeds of the small recipe, two of one that hardly learns, one of a third, a twin."""

    def make(folder: Path) -> None:
        shutil.copytree(finished_run, folder / "fast-0")
        slow = replace(tiny_recipe, name="slow", optimizer=replace(tiny_recipe.optimizer, learning_rate=1e-4), epochs=1)
        wide = replace(tiny_recipe, name="wide", model=replace(tiny_recipe.model, hidden=(24,)))
        for name, recipe in {
            "fast-1": replace(tiny_recipe, seed=1),
            "slow-0": slow,
            "slow-1": replace(slow, seed=1),
            "wide-0": wide,
            "twin-0": replace(tiny_recipe, name="twin"),
        }.items():
            trainer.train(recipe, folder / name, Inputs(tiny_folder), device="cpu")

    return {path.name: path for path in shared_folder("compared", make).iterdir()}


def correct(folder: Path) -> torch.Tensor:
    logits, labels = run_folder.read_logits(folder / run_folder.logits_name("validation"))
    return logits.argmax(1) == labels


def test_single_runs_by_the_images_that_one_alone_gets_right(runs: Runs, tiny_folder: Path) -> None:
    found = compare([runs["fast-0"], runs["slow-0"]], data_folder=tiny_folder)
    one, other = correct(runs["fast-0"]), correct(runs["slow-0"])
    wins, losses = one & ~other, other & ~one
    (contrast,) = found.contrasts
    assert contrast.difference == paired_difference(int(wins.sum()), int(losses.sum()), len(one))
    assert contrast.first_alone == tuple(wins.nonzero().flatten().tolist())
    assert contrast.second_alone == tuple(losses.nonzero().flatten().tolist())
    assert contrast.recipe_differences == ("epochs: 3 became 1", "optimizer.learning_rate: 0.001 became 0.0001")
    assert contrast.verdict.startswith("tiny is better than slow: ")
    assert (found.wrong_in_any, found.wrong_in_all) == (int((~(one & other)).sum()), int((~(one | other)).sum()))


def test_the_classes_differences_make_up_the_whole(runs: Runs, tiny_folder: Path) -> None:
    found = compare([runs["fast-0"], runs["slow-0"]], data_folder=tiny_folder)
    _, labels = run_folder.read_logits(runs["fast-0"] / run_folder.logits_name("validation"))
    counts = torch.bincount(labels).tolist()
    (contrast,) = found.contrasts
    whole = sum(share * count for share, count in zip(contrast.per_class.values(), counts, strict=True))
    assert whole / len(labels) == pytest.approx(contrast.difference.difference)


def test_turned_round_it_says_the_same(runs: Runs, tiny_folder: Path) -> None:
    names = ["fast-0", "fast-1", "slow-0", "slow-1"]
    one, other = (compare([runs[name] for name in order], data_folder=tiny_folder) for order in (names, names[::-1]))
    assert one.contrasts[0].verdict == other.contrasts[0].verdict
    assert one.contrasts[0].difference.difference == pytest.approx(-other.contrasts[0].difference.difference)


def test_seeds_of_one_recipe_are_one_side(runs: Runs, tiny_folder: Path) -> None:
    found = compare([runs[name] for name in ("fast-0", "slow-1", "fast-1", "slow-0")], data_folder=tiny_folder)
    assert [(side.name, side.seeds) for side in found.sides] == [("tiny (2 seeds)", (0, 1)), ("slow (2 seeds)", (1, 0))]
    (contrast,) = found.contrasts
    assert contrast.seeds == (0, 1)
    accuracies = [[correct(runs[f"{name}-{seed}"]).double().mean() for seed in (0, 1)] for name in ("fast", "slow")]
    expected = sum(accuracies[0]) / 2 - sum(accuracies[1]) / 2
    assert contrast.difference.difference == pytest.approx(float(expected))


def test_of_many_every_pair_and_holms_p(runs: Runs, tiny_folder: Path) -> None:
    found = compare([runs[name] for name in ("fast-0", "slow-0", "wide-0")], data_folder=tiny_folder)
    assert [(one.first, one.second) for one in found.contrasts] == [
        ("tiny", "slow"),
        ("tiny", "wide"),
        ("slow", "wide"),
    ]
    adjusted = [one.adjusted_p_value for one in found.contrasts]
    assert adjusted == holm([one.difference.p_value for one in found.contrasts])


def test_an_image_is_right_alone_if_most_seeds_say_so() -> None:
    outcomes = torch.tensor([[1, 1, 0, -1], [1, 0, 0, -1], [-1, 1, 1, 0]])  # of three seeds, for four images
    assert (_with_most(outcomes > 0), _with_most(outcomes < 0)) == ((0, 1), (3,))


def test_twins_do_not_differ(runs: Runs, tiny_folder: Path) -> None:
    (contrast,) = compare([runs["fast-0"], runs["twin-0"]], data_folder=tiny_folder).contrasts
    assert contrast.verdict.startswith("no difference shown: tiny before twin by 0.00 points, 95 % interval -")
    assert contrast.adjusted_p_value == contrast.difference.p_value == 1
    assert (contrast.first_alone, contrast.second_alone, contrast.recipe_differences) == ((), (), ())


def test_seeds_of_one_recipe_alone_give_their_mean_spread_and_interval(
    runs: Runs, tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = [runs["fast-0"], runs["fast-1"]]
    found = compare(folders, data_folder=tiny_folder)
    shares = [correct(folder).double().mean().item() for folder in folders]
    (side,) = found.sides
    assert (side.name, side.seeds, found.contrasts) == ("tiny (2 seeds)", (0, 1), ())
    assert side.mean == pytest.approx(mean(shares))
    assert side.deviation == pytest.approx(stdev(shares))
    low, high = mean_interval(shares) or (0.0, 0.0)
    assert side.interval == pytest.approx((max(0, low), min(1, high)))
    main(["compare", *map(str, folders), "--data-folder", str(tiny_folder)])
    text = capsys.readouterr().out
    assert f"{side.mean:.2%} ± {side.deviation:.2%} (95 % interval" in text
    assert "to compare, add runs of another recipe" in text


def test_sides_of_one_name_are_told_by_the_fields_in_which_they_differ(
    runs: Runs, tiny_folder: Path, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    for seed in (0, 1):
        trainer.train(replace(tiny_recipe, epochs=1, seed=seed), tmp_path / f"short-{seed}", Inputs(tiny_folder))
    folders = [runs["fast-0"], runs["fast-1"], tmp_path / "short-0", tmp_path / "short-1", runs["slow-0"]]
    found = compare(folders, data_folder=tiny_folder)
    assert [side.name for side in found.sides] == ["tiny (epochs 3, 2 seeds)", "tiny (epochs 1, 2 seeds)", "slow"]
    assert not any(str(folder) in contrast.verdict for folder in folders for contrast in found.contrasts)


def test_names_tell_sides_apart_however_many_fields_differ(tiny_recipe: Recipe) -> None:
    many = replace(tiny_recipe, epochs=1, batch_size=2, label_smoothing=0.5, model=MLPRecipe())
    names = _names([tiny_recipe, many, replace(many, balance=0.5), replace(many, name="other")])
    assert len(set(names)) == 4
    assert names[3] == "other"
    few = _names([tiny_recipe, many])
    assert few[1].startswith("tiny (epochs 1, batch_size 2, ")
    assert few[1].count(",") == 2


def test_a_class_that_the_images_lack_has_no_difference() -> None:
    table, labels = torch.tensor([[1, 0, 0, -1]]), torch.tensor([0, 0, 2, 2])
    assert _per_class(table, labels, ("a", "b", "c")) == {"a": 0.5, "b": None, "c": -0.5}


def test_a_copy_is_no_second_run(runs: Runs, tiny_folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(runs["fast-0"], tmp_path / "copy")
    with pytest.raises(RunError, match="the same recipe and seed as"):
        compare([runs["fast-0"], copy, runs["slow-0"]], data_folder=tiny_folder)
    with pytest.raises(RunError, match="named twice"):
        compare([runs["fast-0"], runs["fast-0"]], data_folder=tiny_folder)


@pytest.mark.parametrize(
    ("names", "complaint"),
    [
        ([], "expected at least 2 runs, found 0"),
        (["fast-0"], "expected at least 2 runs, found 1"),
        (["fast-1", "slow-0"], "no seed in common"),
    ],
)
def test_what_cannot_be_compared_is_refused(runs: Runs, tiny_folder: Path, names: list[str], complaint: str) -> None:
    with pytest.raises(RunError, match=complaint):
        compare([runs[name] for name in names], split="test", data_folder=tiny_folder)
    assert [run_folder.open_run(runs[name]).test_openings for name in names] == [0] * len(names)


def test_without_scipy_several_seeds_are_refused_and_not_counted(
    runs: Runs, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies = [shutil.copytree(runs[name], tmp_path / name) for name in ("fast-0", "fast-1")]
    monkeypatch.setitem(sys.modules, "scipy.special", None)
    for measured in (compare, evaluate_seeds):
        with pytest.raises(MissingExtraError, match="SciPy"):
            measured(copies, split="test", data_folder=tiny_folder)
    assert [run_folder.open_run(copy).test_openings for copy in copies] == [0, 0]


def test_a_single_image_is_too_few_for_several_seeds_and_is_not_counted(
    runs: Runs, tiny_folder: Path, tmp_path: Path
) -> None:
    images = shutil.copytree(tiny_folder, tmp_path / "tiny")
    (images / TEST_IMAGES).write_bytes(idx(np.zeros((1, 12, 12))))
    (images / TEST_LABELS).write_bytes(idx(np.zeros(1)))
    names = ["fast-0", "fast-1", "slow-0", "slow-1"]
    copies = [shutil.copytree(runs[name], tmp_path / name) for name in names]
    with pytest.raises(RunError, match="2 seeds in common, expected at least 2 images, found 1"):
        compare(copies, split="test", data_folder=images)
    assert [run_folder.open_run(copy).test_openings for copy in copies] == [0] * 4
    assert compare(copies[::2], split="test", data_folder=images).images == 1


def test_the_decoder_of_pictures_tells_no_runs_on_fashion_mnist_apart(runs: Runs) -> None:
    """Runs of earlier versions have another; for picture files it is a difference."""

    def groups(**changes: str) -> list[list[int]]:
        found = []
        for seed, decoder in enumerate((1, 3)):
            run = run_folder.open_run(runs["fast-0"])
            data = replace(run.recipe.data, decoder=decoder, **changes)
            found.append(replace(run, recipe=replace(run.recipe, seed=seed, data=data)))
        return groups_by_recipe(found)[0]

    assert groups(source="fashion-mnist") == [[0, 1]]
    assert groups(source="shop") == [[0], [1]]
    assert groups(source="fashion-mnist", extra="more", extra_classes=("a=b",)) == [[0], [1]]  # type: ignore[arg-type]


def test_images_that_are_not_there_are_not_said_to_have_been_measured(
    runs: Runs, tiny_folder: Path, tmp_path: Path
) -> None:
    copies = [shutil.copytree(runs[name], tmp_path / name) for name in ("fast-0", "slow-0")]
    compare(copies, split="test", data_folder=tiny_folder)
    for split in ("validation", "test"):
        with pytest.raises(DataError, match="no such data set or folder"):
            compare(copies, split=split, data_folder=tmp_path / "nowhere")  # type: ignore[arg-type]
    assert [run_folder.open_run(copy).test_openings for copy in copies] == [1, 1]


def test_the_test_set_is_opened_once_and_counted(runs: Runs, tiny_folder: Path, tmp_path: Path) -> None:
    copies = [shutil.copytree(runs[name], tmp_path / name) for name in ("fast-0", "slow-0")]
    assert compare(copies, split="test", data_folder=tiny_folder).images == 100
    assert [run_folder.open_run(copy).test_openings for copy in copies] == [1, 1]


def test_the_command_tells_a_person(runs: Runs, tiny_folder: Path) -> None:
    folders = [runs[name] for name in ("fast-0", "fast-1", "slow-0", "slow-1", "wide-0")]
    done = run_modiste("compare", *folders, "--data-folder", tiny_folder)
    assert done.returncode == 0, done.stderr
    for words in (
        "no difference shown: tiny (2 seeds) before slow (2 seeds)",
        "over seeds 0, 1",
        "one seed of each",
        "epochs: 3 became 1",
        "wrong",
    ):
        assert words in done.stdout
    nothing = run_modiste("compare")
    assert (nothing.returncode, "which runs?" in nothing.stderr) == (2, True)


def test_the_command_tells_a_script_the_same(runs: Runs, tiny_folder: Path) -> None:
    folders = [runs["fast-0"], runs["slow-0"]]
    done = run_modiste("compare", *folders, "--json", "--data-folder", tiny_folder)
    expected: Comparison = compare(folders, data_folder=tiny_folder)
    assert json.loads(done.stdout) == json.loads(json.dumps(expected.as_plain()))
