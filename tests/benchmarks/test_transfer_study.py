"""The study of transfer: classes cut out whole, arms that differ in their source alone, the same number of steps."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import transfer_study
from modiste.data import held_out
from modiste.data.batches import steps_per_epoch
from modiste.data.idx import idx_source
from modiste.models.registry import Task, build_model, count_parameters
from modiste.recipes.networks import ModelRecipe
from modiste.recipes.recipe import TransferRecipe
from transfer_figure import LOOKS, panels_of
from transfer_study import ARMS, BATCH_SIZE, EPOCHS, LABELS_PER_CLASS, Study


@pytest.mark.parametrize("part", ["train", "t10k"])
def test_the_chosen_classes_and_only_those_pixel_by_pixel(part: str, tiny_folder: Path, tmp_path: Path) -> None:
    load = idx_source.load_training if part == "train" else held_out.load_held_out
    raw = load("tiny", tiny_folder)
    transfer_study.write_classes(raw, (1, 3, 4), tmp_path, part)
    cut = load("cut", tmp_path)
    assert cut.class_names == ("1", "3", "4")
    kept = np.isin(raw.labels, (1, 3, 4))
    assert np.array_equal(cut.images, raw.images[kept])
    assert [cut.class_names[label] for label in cut.labels] == [str(label) for label in raw.labels[kept]]


STUDIES = [Study("ten", "", "", 10, None), Study("five", "", "", 5, Path("nowhere"))]


@pytest.mark.parametrize("study", STUDIES, ids=lambda study: study.name)
def test_every_run_takes_the_same_steps_and_starts_afresh(study: Study) -> None:
    recipes = [transfer_study.tuning_recipe(study, labels, seed) for labels in LABELS_PER_CLASS for seed in (0, 1)]
    for recipe in recipes:
        images = recipe.data.images_per_class * study.classes * recipe.data.repeats
        assert recipe.epochs * steps_per_epoch(images, recipe.batch_size) == EPOCHS * 100
        assert recipe.batch_size == BATCH_SIZE
        assert recipe.warm_start == "none"
        assert recipe.transfer == TransferRecipe()
        assert recipe.data.subset_seed == recipe.seed
        assert recipe.data.split_seed == 0
    assert len({replace(recipe, data=recipes[0].data, seed=0) for recipe in recipes}) == 1
    assert transfer_study.source_recipe(study, 3).model == recipes[0].model


def test_the_network_is_as_described() -> None:
    model: ModelRecipe = transfer_study.tuning_recipe(STUDIES[0], 10, 0).model
    task = Task(image_shape=(1, 28, 28), class_names=tuple("0123456789"))
    assert f"{count_parameters(build_model(model, task)):,} parameters" in transfer_study.NETWORK


def test_the_figure_has_a_panel_for_each_study_and_a_mark_for_each_seed() -> None:
    arms = {arm: {10: [0.6, 0.7], 100: [0.8, 0.81]} for arm in ARMS}
    figure = panels_of({"one": arms, "two": arms})
    assert [axes.get_title("left") for axes in figure.axes] == ["one", "two"]
    assert set(LOOKS) == set(ARMS)
    marks = [line for line in figure.axes[0].lines if line.get_marker() != "None"]
    assert [len(line.get_xdata()) for line in marks] == [4, 4]
