"""A folder in place of a recipe: what is chosen for it, by pictures made here, and that held-out pictures stay shut."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from commands_and_data import run_modiste
from modiste.errors import DataError, PhotoError, RecipeError
from modiste.recipes import named
from modiste.runs.run_folder import open_run
from modiste.training import choice
from modiste.training.choice import choose_recipe


def write_shop(folder: Path, side: int, *, colour: bool = True, count: int = 6) -> Path:
    """Write class folders of noise: bags are dark, caps light."""
    draw = np.random.RandomState(side)
    for name, low in (("bag", 0), ("cap", 128)):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            pixels = draw.randint(low, low + 128, (side, side // 2, 3)).astype(np.uint8)
            Image.fromarray(pixels if colour else pixels[..., 0]).save(folder / name / f"{number}.png")
    return folder


def test_photographs_take_the_installed_backbone(tmp_path: Path) -> None:
    shop = write_shop(tmp_path / "shop", 96)
    found = choose_recipe(str(shop))
    assert (found.recipe.name, found.recipe.data.source) == ("backbone-linear", str(shop))
    assert "efficientnet-lite0 is installed" in found.reason
    assert "of about 96 pixels, in colour" in found.reason


def test_without_the_backbone_the_reason_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "is_installed", lambda _backbone: False)
    found = choose_recipe(str(write_shop(tmp_path / "shop", 96, colour=False)))
    data = found.recipe.data
    assert (found.recipe.name, data.pictures, data.side, data.colour) == ("sprint-93", "whole", 64, False)
    assert "pip install 'modiste[backbones]'" in found.reason


@pytest.mark.parametrize(("size", "side"), [(20, 28), (30, 32), (50, 64)])
def test_small_pictures_are_learnt_from_scratch_at_their_size(tmp_path: Path, size: int, side: int) -> None:
    data = choose_recipe(str(write_shop(tmp_path / "shop", size))).recipe.data
    assert (data.side, data.colour) == (side, True)
    assert data.repeats > 1, "a few pictures make a short epoch"


def test_idx_files_take_a_recipe_for_small_images(tiny_folder: Path) -> None:
    found = choose_recipe(str(tiny_folder))
    assert (found.recipe.name, found.recipe.data.source) == ("sprint-93", str(tiny_folder))


def test_held_out_pictures_stay_shut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = tmp_path / "shop"
    for split in ("train", "validation", "test"):
        write_shop(shop / split, 80)
    opened: list[Path] = []
    real = choice.open_photo
    monkeypatch.setattr(choice, "open_photo", lambda path: opened.append(path) or real(path))  # type: ignore[func-returns-value]
    choose_recipe(str(shop))
    assert opened
    assert all((shop / "train") in path.parents for path in opened)


def test_a_picture_of_each_class_is_enough(tmp_path: Path) -> None:
    """Dark and light noise: a loss above that of a guess would show features divided by next to nothing."""
    for split, count in (("train", 1), ("validation", 4)):
        write_shop(tmp_path / "shop" / split, 96, count=count)
    command = ("train", tmp_path / "shop", "--out", tmp_path / "run")
    done = run_modiste(*command)
    assert done.returncode != 0
    assert "none of bag for training, 5 in all" in done.stderr
    assert "--data.test-fraction 0 holds none out" in done.stderr
    done = run_modiste(*command, "--data.test-fraction", "0")
    assert done.returncode == 0, done.stderr
    measured = open_run(tmp_path / "run").picked
    assert (measured.validation_accuracy, measured.validation_loss) == (1.0, pytest.approx(0.0, abs=0.6))


@pytest.mark.parametrize("count", [1, 32, 33, 63, 64, 1000])
def test_no_more_pictures_are_opened_than_the_guide_says(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Path] = []
    grey = np.zeros((40, 30, 3), np.uint8)
    monkeypatch.setattr(choice, "open_photo", lambda path: opened.append(path) or grey)  # type: ignore[func-returns-value]
    look = choice.look_at(Path("shop"), [f"{number}.jpg" for number in range(count)])
    assert (look.count, look.side, look.is_colour) == (count, 40, False)
    guide = (Path(__file__).parents[2] / "docs" / "classes.md").read_text(encoding="utf-8")
    [said] = re.findall(r"^`modiste train FOLDER` opens (\d+) training pictures", guide, re.MULTILINE)
    assert min(count, 16) <= len(opened) <= int(said)


def test_unreadable_pictures_are_named(tmp_path: Path) -> None:
    shop = write_shop(tmp_path / "shop", 40)
    for path in shop.rglob("*.png"):
        path.write_bytes(b"no picture")
    with pytest.raises(PhotoError, match=r"0\.png: not a readable image.*modiste data lists all"):
        choose_recipe(str(shop))


def test_a_folder_that_is_no_data_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no data set in it"):
        choose_recipe(str(tmp_path))


def test_every_recipe_that_may_be_chosen_exists() -> None:
    assert {*choice.WITH_BACKBONE.values(), *choice.FROM_SCRATCH.values()} <= set(named.RECIPES)


def test_more_effort_tunes_a_backbone_and_then_a_larger_one(tmp_path: Path) -> None:
    shop = str(write_shop(tmp_path / "shop", 96))
    better, best = (choose_recipe(shop, effort).recipe for effort in ("better", "best"))
    assert (better.name, best.name) == ("backbone-tuned", "backbone-tuned-lite2")
    assert 0 < better.epochs < best.epochs
    small = str(write_shop(tmp_path / "small", 28))
    chosen = [choose_recipe(small, effort).recipe.name for effort in ("fast", "better", "best")]
    assert chosen == ["sprint-93", "sprint-94", "sprint-95"]


@pytest.mark.parametrize("flags", [["--effort", "best"], ["--seed", "3", "--effort=best"]])
def test_the_command_takes_the_effort(tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str]) -> None:
    from modiste.cli.train import _choose_recipe

    recipe, options = _choose_recipe(str(write_shop(tmp_path / "shop", 96)), flags, "modiste train shop")
    assert (recipe.name, recipe.seed, options.effort) == ("backbone-tuned-lite2", 3 if len(flags) > 2 else 0, "best")
    assert "backbone-tuned-lite2, because of" in capsys.readouterr().err


def test_a_folder_and_another_source_are_refused_together(tmp_path: Path) -> None:
    from modiste.cli.train import _choose_recipe

    shop = str(write_shop(tmp_path / "shop", 24))
    with pytest.raises(RecipeError, match=f"--data.source: expected with a recipe, found with {shop}, which names"):
        _choose_recipe(shop, ["--data.source", "other"], "modiste train shop")


def test_a_recipe_has_no_effort() -> None:
    done = run_modiste("train", "sprint", "--effort", "best")
    assert done.returncode == 4
    assert "--effort: expected with a folder, found with the recipe sprint; leave it out" in done.stderr


def test_the_command_says_what_it_chose_and_flags_change_it(tmp_path: Path) -> None:
    shop = write_shop(tmp_path / "shop", 24, count=30)
    out = tmp_path / "run"
    done = run_modiste("train", shop, "--epochs", "2", "--data.repeats", "1", "--out", out)
    assert done.returncode == 0, done.stderr
    assert "sprint-93, because of 42 training pictures of about 24 pixels, in colour" in done.stderr
    assert f"modiste train RECIPE --data.source {shop}" in done.stderr
    assert '"epochs": 2' in (out / "recipe.json").read_text(encoding="utf-8")
