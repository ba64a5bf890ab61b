"""Colour pictures are standardised channel by channel; runs of earlier versions keep one mean and deviation for all."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from run_equality import results

from commands_and_data import write_pictures
from modiste.data.batch import as_floats
from modiste.data.dataset import Development, ImageSet, channel_statistics, mean_and_deviation
from modiste.errors import DataError, RunError, StoppedError
from modiste.evaluation.inference import infer
from modiste.models.layers import Standardize
from modiste.models.registry import Task, build_model
from modiste.recipes.networks import MLPRecipe
from modiste.recipes.recipe import DataRecipe, Recipe
from modiste.runs import checkpoint, run_folder
from modiste.runs.checkpoint import ModelInfo
from modiste.training import setup
from modiste.training.trainer import train

MEANS, DEVIATIONS = (0.7, 0.5, 0.2), (0.2, 0.3, 0.1)


def colours(seed: int = 0) -> torch.Tensor:
    draw = np.random.RandomState(seed)
    numbers = draw.normal(MEANS, DEVIATIONS, (40, 9, 8, 3)).clip(0, 1)
    return torch.from_numpy((numbers * 255).astype(np.uint8)).permute(0, 3, 1, 2).contiguous()


def development_of(images: torch.Tensor) -> Development:
    some = ImageSet(images, torch.arange(len(images)) % 2)
    return Development("own", some, images, some, ("a", "b"), "0")


def recipe_of(folder: Path | str = "own") -> Recipe:
    data = DataRecipe(source=str(folder), pictures="whole", side=12, colour=True)
    return Recipe(name="own", model=MLPRecipe(hidden=(8,)), data=data, epochs=3, batch_size=16, standardize=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_pictures(tmp_path / "own", {"a": 30, "b": 25})
    return tmp_path / "own"


@pytest.fixture
def earlier(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Standardise as earlier versions did; the function that is returned ends that."""
    monkeypatch.setattr(setup, "channel_statistics", mean_and_deviation)
    return lambda: monkeypatch.setattr(setup, "channel_statistics", channel_statistics)


class TestStatistics:
    def test_each_channel_has_its_own(self) -> None:
        images = colours()
        means, deviations = channel_statistics(images)
        exact = images.double() / 255
        assert means == pytest.approx(exact.mean((0, 2, 3)).tolist(), rel=1e-12)
        assert deviations == pytest.approx(exact.std((0, 2, 3), correction=0).tolist(), rel=1e-12)

    def test_more_images_than_are_counted_at_a_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        images = colours()
        whole = mean_and_deviation(images), channel_statistics(images)
        monkeypatch.setattr("modiste.data.batch.BLOCK_BYTES", 7 * 3 * 9 * 8)
        assert (mean_and_deviation(images), channel_statistics(images)) == whole

    def test_a_channel_that_never_changes_is_not_divided_by_nothing(self) -> None:
        images = colours()
        images[:, 2] = 0
        means, deviations = channel_statistics(images)
        assert means[2] == 0
        assert deviations[2] == pytest.approx(0.1 * mean_and_deviation(images)[1])

    def test_a_task_for_colour_and_one_for_grey(self) -> None:
        images = colours()
        task = setup.describe_task(development_of(images), recipe_of())
        assert (task.mean, task.deviation) == channel_statistics(images)
        grey = setup.describe_task(development_of(images[:, :1]), recipe_of())
        assert (grey.mean, grey.deviation) == mean_and_deviation(images[:, :1])

    def test_pictures_of_a_single_value_are_refused(self) -> None:
        with pytest.raises(DataError, match="every training pixel has the same value"):
            setup.describe_task(development_of(torch.full((4, 3, 9, 8), 77, dtype=torch.uint8)), recipe_of())

    def test_pictures_of_a_single_colour_each_are_not(self) -> None:
        images = torch.zeros(4, 3, 9, 8, dtype=torch.uint8)
        images[::2, 0] = 200
        assert all(setup.describe_task(development_of(images), recipe_of()).deviation)  # type: ignore[arg-type]


def test_the_layer_subtracts_and_divides_by_channel() -> None:
    images = as_floats(colours())
    found = Standardize(MEANS, DEVIATIONS)(images)
    for channel, (mean, deviation) in enumerate(zip(MEANS, DEVIATIONS, strict=True)):
        assert torch.equal(found[:, channel], Standardize(mean, deviation)(images[:, channel : channel + 1])[:, 0])


def test_a_model_file_keeps_them(tmp_path: Path) -> None:
    task = Task(image_shape=(3, 9, 8), class_names=("a", "b"), mean=MEANS, deviation=DEVIATIONS)
    recipe = recipe_of()
    model, path = build_model(recipe.model, task), tmp_path / "model.safetensors"
    checkpoint.save_model(path, model.state_dict(), ModelInfo(recipe, task, 1, "0"))
    loaded, info = checkpoint.load_model(path)
    assert info.task == task
    assert torch.equal(infer(loaded, colours(), recipe), infer(model, colours(), recipe))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("mean", value) for value in ([0.1, 0.2], [0.1] * 4, [0.1, 0.2, float("nan")], [0.1, 0.2, "a"], [])),
        *(("deviation", value) for value in ([0.1, 0.2, 0.0], [0.1, -0.2, 0.1], [[0.1] * 3])),
    ],
)
def test_a_model_file_with_other_numbers_is_refused(field: str, value: object, tmp_path: Path) -> None:
    task = Task(image_shape=(3, 9, 8), class_names=("a", "b"), mean=MEANS, deviation=DEVIATIONS)
    model, path = build_model(recipe_of().model, task), tmp_path / "model.safetensors"
    checkpoint.save_model(path, model.state_dict(), ModelInfo(recipe_of(), task, 1, "0"))
    tensors, plain = checkpoint.read(path)
    plain["task"][field] = value
    path.write_bytes(checkpoint.to_bytes(tensors, plain))
    with pytest.raises(RunError, match=f"{field}: expected a number, or one for each channel"):
        checkpoint.load_model(path)


class TestEarlierRuns:
    def test_a_finished_one_answers_the_same(self, folder: Path, tmp_path: Path, earlier: Callable[[], None]) -> None:
        train(recipe_of(folder), tmp_path / "run", device="cpu")
        earlier()
        run = run_folder.open_run(tmp_path / "run")
        model, info = checkpoint.load_model(tmp_path / "run" / run_folder.WEIGHTS["picked"])
        assert isinstance(info.task.mean, float)
        measured = run_folder.read_measured(tmp_path / "run" / run_folder.logits_name("validation"))
        images = setup.load_development(run.recipe.data).validation.images
        assert torch.equal(infer(model, images, run.recipe), measured.logits)

    def test_one_that_was_stopped_ends_as_it_would_have(
        self, folder: Path, tmp_path: Path, earlier: Callable[[], None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        train(recipe_of(folder), tmp_path / "undisturbed", device="cpu")
        stops = iter([False] * 5 + [True])
        with monkeypatch.context() as patch:
            patch.setattr("modiste.training.state.Context.stop_requested", lambda _context: next(stops))
            with pytest.raises(StoppedError):
                train(recipe_of(folder), tmp_path / "run", device="cpu")
        earlier()
        train(recipe_of(folder), tmp_path / "run", device="cpu")
        assert results(tmp_path / "run") == results(tmp_path / "undisturbed")
        train(recipe_of(folder), tmp_path / "later", device="cpu")
        assert results(tmp_path / "later") != results(tmp_path / "undisturbed"), "a new run has one for each channel"
