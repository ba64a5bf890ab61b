"""The public functions do what the commands do, and their results show themselves."""

import io
import os
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import code_of_others as others
import modiste
from commands_and_data import run_modiste, run_script
from modiste.display import Table
from modiste.errors import DataError, PhotoError, RecipeError, RunError
from modiste.recipes import own_code
from modiste.recipes.networks import MLPRecipe
from modiste.recipes.plain import to_plain
from modiste.recipes.recipe import DataRecipe, OptimizerRecipe, Recipe
from modiste.reports.figures import write_figures


def test_the_function_trains_the_run_of_the_command(tiny_folder: Path, tmp_path: Path) -> None:
    fields = {"epochs": 1, "seed": 3, "optimizer.learning_rate": 0.01, "data.source": "tiny"}
    flags = [word for name, value in fields.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    where = ["--device", "cpu", "--data-folder", str(tiny_folder), "--out", str(tmp_path / "command")]
    done = run_modiste("train", "mlp", *flags, *where)
    assert done.returncode == 0, done.stderr
    run = modiste.train("mlp", tmp_path / "call", device="cpu", data_folder=tiny_folder, quiet=True, **fields)
    assert run.recipe == modiste.Run.open(tmp_path / "command").recipe
    assert run.history == modiste.Run.open(tmp_path / "command").history


def test_every_function_takes_a_run_or_its_folder(finished_run: Path, tiny_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(finished_run, tmp_path / "run")
    run = modiste.Run.open(folder)
    assert os.fspath(run) == str(folder)
    assert modiste.evaluate(run).accuracy == modiste.evaluate(str(folder)).accuracy == run.accuracy
    assert modiste.report(run, data_folder=tiny_folder) == folder / "report.html"


def test_a_run_by_itself_is_a_list_of_one(finished_run: Path) -> None:
    run = modiste.Run.open(finished_run)
    for alone in (run, str(finished_run)):
        for function in (modiste.compare, modiste.evaluate_ensemble):
            with pytest.raises(RunError, match="expected at least 2 runs, found 1"):
                function(alone)  # type: ignore[operator]
        assert modiste.evaluate_seeds(alone).spread.mean == run.accuracy


def test_a_device_is_checked_where_nothing_is_left_to_compute(finished_run: Path) -> None:
    for call in (modiste.evaluate, modiste.compare, modiste.evaluate_seeds, modiste.evaluate_ensemble):
        with pytest.raises(RecipeError, match="try --device cuda"):
            call(finished_run, device="gpu")  # type: ignore[operator]
    with pytest.raises(RecipeError, match="try --device cuda"):
        modiste.benchmark("conformal", finished_run, device="gpu", split="validation")


def test_images_are_shown_by_one_number_or_several_of_numpy(
    finished_run: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    where: dict[str, Any] = {"out": tmp_path / "images.png", "data_folder": tiny_folder}
    (alone,) = modiste.show(finished_run, 2, **where)
    assert modiste.show(finished_run, np.array([2, 5]), **where)[0] == alone


def test_a_format_of_figures_that_is_unknown_is_refused_before_any_is_drawn(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="format: 'jpg' is unknown"):
        write_figures(tmp_path / "figures", format="jpg")
    assert not (tmp_path / "figures").exists()


def test_an_experiment_by_itself_is_a_list_of_one(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="holds no reproduction"):
        modiste.reproduce(tmp_path, experiments="dropout", page_only=True)


class TestFields:
    BASE = Recipe(name="base", model=MLPRecipe(hidden=(4,)))

    def test_nested_fields_in_both_spellings(self) -> None:
        dotted = self.BASE.with_(**{"optimizer.learning_rate": 0.5, "epochs": 2})
        assert dotted == self.BASE.with_(optimizer__learning_rate=0.5, epochs=2)
        assert (dotted.optimizer.learning_rate, dotted.epochs) == (0.5, 2)

    def test_parts_tables_and_numbers_of_numpy(self) -> None:
        part = self.BASE.with_(optimizer=OptimizerRecipe(learning_rate=0.5))
        assert part == self.BASE.with_(optimizer=to_plain(OptimizerRecipe(learning_rate=0.5)))
        assert self.BASE.with_(epochs=np.int64(3), model__dropout=np.float32(0.5)).model.dropout == 0.5

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"epoch": 1}, r"epoch: no such field; did you mean 'epochs'\?"),
            ({"optimiser__learning_rate": 1}, r"optimiser: no such part; did you mean 'optimizer'\?"),
            ({"optimizer.lr": 1}, "optimizer.lr: no such field"),
            ({"epochs.more": 1}, "epochs: no such part"),
            ({"epochs": "many"}, "epochs: expected int, found 'many'"),
            ({"epochs": 0}, "epochs: expected at least 1"),
        ],
    )
    def test_what_is_wrong_is_named(self, changes: dict[str, Any], message: str) -> None:
        with pytest.raises(RecipeError, match=f"^{message}"):
            self.BASE.with_(**changes)

    @pytest.mark.parametrize("recipe", modiste.RECIPES)
    def test_no_change_is_no_change(self, recipe: str) -> None:
        assert modiste.get_recipe(recipe).with_() == modiste.get_recipe(recipe)


class TestRecipeArgument:
    def test_a_name_a_file_and_a_recipe(self, tmp_path: Path) -> None:
        from modiste.api.training import as_recipe

        recipe = modiste.get_recipe("mlp")
        (tmp_path / "mine.toml").write_text('name = "mine"\nepochs = 3\n')
        assert as_recipe("mlp") == as_recipe(recipe) == recipe
        assert as_recipe(tmp_path / "mine.toml").epochs == as_recipe(str(tmp_path / "mine.toml")).epochs == 3

    def test_an_unknown_name(self) -> None:
        with pytest.raises(RecipeError, match="did you mean 'sprint'"):
            modiste.train("sprnt")


class TestPredict:
    @pytest.fixture
    def photo(self) -> Image.Image:
        """A light garment-like block on a dark ground."""
        pixels = np.full((90, 60, 3), 20, np.uint8)
        pixels[15:75, 15:45] = (200, 180, 160)
        return Image.fromarray(pixels)

    def test_a_file_its_bytes_an_image_and_an_array_get_one_answer(
        self, photo_run: Path, photo: Image.Image, tmp_path: Path
    ) -> None:
        photo.save(tmp_path / "photo.png")
        forms = [tmp_path / "photo.png", (tmp_path / "photo.png").read_bytes(), photo, np.asarray(photo)]
        predictor = modiste.Run.open(photo_run).predictor("cpu")
        found = [modiste.predict(predictor, form)[0] for form in forms]
        assert {one.nearest for one in found} == {found[0].nearest}
        assert len({one.probabilities for one in found}) == 1
        together = modiste.predict(predictor, forms)
        for one in together:  # a batch of four rounds otherwise than a batch of one
            assert dict(one.probabilities) == pytest.approx(dict(found[0].probabilities), abs=1e-5)

    def test_a_transparent_image_gets_the_answer_of_its_file(self, photo_run: Path, photo: Image.Image) -> None:
        photo.putalpha(Image.fromarray(np.asarray(photo)[:, :, 0] > 20))
        file = io.BytesIO()
        photo.save(file, "PNG")
        predictor = modiste.Run.open(photo_run).predictor("cpu")
        found, expected, black = (
            modiste.predict(predictor, one)[0] for one in (photo, file.getvalue(), photo.convert("RGB"))
        )
        assert found.probabilities == expected.probabilities != black.probabilities
        assert modiste.predict(predictor, Image.new("L", (200, 3)))[0].fault

    def test_answers_to_arrays_are_numbered_on(self, photo_run: Path, photo: Image.Image) -> None:
        images = np.zeros((3, 1, 28, 28), np.uint8)
        predictor = modiste.Run.open(photo_run).predictor("cpu")
        for form, count in ((images, 3), (images[:, 0], 3), ([images, photo, images[:, 0]], 7)):
            sources = [one.source for one in modiste.predict(predictor, form)]
            assert sources == [f"picture {number}" for number in range(count)]

    def test_arrays_of_the_data_sets_size_are_used_as_they_are(self, photo_run: Path) -> None:
        images = modiste.load_dataset().validation.images[:5]
        predictor = modiste.Run.open(photo_run).predictor("cpu")
        expected = predictor.names(images)
        for form in (images[:, 0].numpy(), list(images[:, 0].numpy()), images.permute(0, 2, 3, 1).numpy()):
            assert [one.nearest for one in modiste.predict(predictor, form)] == expected

    @pytest.mark.parametrize(
        ("picture", "message"),
        [
            (np.zeros((28, 28)), "expected bytes from 0 to 255, found float64"),
            (np.zeros((4, 4, 4, 4, 4), np.uint8), r"expected an array \(H, W\)"),
            (np.zeros((3, 30, 30), np.uint8), r"expected an array .*\(N, 28, 28\), found \(3, 30, 30\)"),
        ],
        ids=["floats", "five dimensions", "another size"],
    )
    def test_what_is_no_picture(self, photo_run: Path, picture: Any, message: str) -> None:
        predictor = modiste.Run.open(photo_run).predictor("cpu")
        with pytest.raises(PhotoError, match=f"^picture 0: {message}"):
            modiste.predict(predictor, picture)

    def test_a_broken_file_among_others_has_an_answer_with_its_fault(self, photo_run: Path, photo: Image.Image) -> None:
        buffer = io.BytesIO()
        photo.save(buffer, "PNG")
        whole, cut = buffer.getvalue(), buffer.getvalue()[:-80]
        found = modiste.predict(modiste.Run.open(photo_run).predictor("cpu"), [cut, whole])
        assert found[0].fault
        assert not found[1].fault


@pytest.mark.slow
def test_a_search_gives_its_trials_and_the_best_recipe(tiny_folder: Path, tiny_recipe: Recipe, tmp_path: Path) -> None:
    space = ["optimizer.learning_rate=choice(1e-9,0.01)"]
    found = modiste.search(
        tiny_recipe.with_(epochs=1),
        space,
        tmp_path,
        trials=2,
        sampler="grid",
        workers=1,
        device="cpu",
        data_folder=tiny_folder,
    )
    assert [one.state for one in found.trials] == ["complete", "complete"]
    assert found.recipe is not None
    assert found.recipe.optimizer.learning_rate == 0.01
    assert "best: trial 1" in repr(found)


def test_an_audit_finds_the_duplicates_of_the_command(tiny_folder: Path, tmp_path: Path) -> None:
    found = modiste.audit(str(tiny_folder), folds=0)
    done = run_modiste("data", "audit", str(tiny_folder), "--folds", "0", "--out", str(tmp_path), "--json")
    assert done.returncode == 0, done.stderr
    assert f'"images": {len(found.items)}' in done.stdout


class TestDisplay:
    def test_a_run_shows_accuracy_interval_and_test_openings(self, finished_run: Path) -> None:
        run = modiste.Run.open(finished_run)
        low, high = run.accuracy_interval
        assert f"{run.accuracy:.2%} (95 % interval {low:.2%} to {high:.2%})" in repr(run)
        assert "not opened" in repr(run)
        assert run._repr_html_().count("<polyline") == 2

    def test_assessment_comparison_and_images_show_themselves(
        self, finished_run: Path, tiny_folder: Path, tiny_recipe: Recipe, tmp_path: Path
    ) -> None:
        other = modiste.train(
            tiny_recipe.with_(name="longer", epochs=1),
            tmp_path / "b",
            device="cpu",
            data_folder=tiny_folder,
            quiet=True,
        )
        compared = modiste.compare([finished_run, other])
        assert compared.contrasts[0].verdict in repr(compared)
        assert "precision" in repr(modiste.evaluate(finished_run))
        data = modiste.load_dataset(tiny_recipe.data, tiny_folder)
        assert f"{len(data.train):,}" in repr(data)

    def test_a_recipe_shows_what_is_not_usual(self) -> None:
        shown = repr(modiste.get_recipe("mlp").with_(label_smoothing=0.25, optimizer__momentum=0.9))
        assert "label_smoothing" in shown
        assert "momentum" not in shown

    def test_columns_are_aligned_and_control_characters_escaped(self) -> None:
        table = Table("title", [["a", "1"], ["long\x1b[31m", "10"]], ("name", "n"), ["note"])
        title, *rows, note = table.as_text().splitlines()
        assert (title, note) == ("title", "note")
        assert len({len(row) for row in rows}) == 1
        assert "\x1b" not in table.as_text()

    def test_html_is_escaped(self) -> None:
        html = Table("<b>", [["<script>", "&"]], notes=["<i>"]).as_html()
        assert "<script>" not in html
        assert "&lt;script&gt;" in html

    def test_html_is_aligned_as_text(self) -> None:
        def sides(table: Table) -> list[str]:
            return re.findall(r"text-align:(\w+)", table.as_html())

        assert sides(Table("figures", [["Coat", "0.5"]], header=["class", "recall"])) == ["left", "right"] * 2
        assert sides(Table("values", [["epoch", "3"]])) == ["left", "left"]

    def test_a_table_without_rows(self) -> None:
        assert Table("empty", []).as_text() == "empty"


def test_the_history_as_a_frame(finished_run: Path) -> None:
    run = modiste.Run.open(finished_run)
    frame = run.history_frame()
    assert list(frame.index) == [1, 2, 3]
    assert list(frame["validation_accuracy"]) == [row.validation_accuracy for row in run.history]


def test_progress_is_shown_unless_quiet(tiny_folder: Path, tmp_path: Path) -> None:
    """In a process whose logging nobody has set up, as that of a user's script."""
    script = tmp_path / "script.py"
    script.write_text(
        "import modiste, sys\n"
        "for out, quiet in (('shown', False), ('quiet', True)):\n"
        "    where = {'device': 'cpu', 'data_folder': sys.argv[1], 'data__source': 'tiny'}\n"
        "    modiste.train('mlp', out, epochs=1, quiet=quiet, **where)\n"
        "    print('and then', file=sys.stderr)\n"
    )
    done = run_script(script, tiny_folder, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    shown, quiet, _ = done.stderr.split("and then\n")
    assert " 1/1 " in shown
    assert quiet == ""


def test_help_calls_the_functions_by_their_names() -> None:
    for name in modiste.__all__:
        thing = getattr(modiste, name)
        if callable(thing) and name.islower() and name != "load_dataset":
            assert thing.__doc__, name
    assert modiste.train.__name__ == "train"


@pytest.fixture(scope="module")
def arrays(tiny_folder: Path) -> tuple[Any, Any]:
    train = modiste.load_dataset(DataRecipe(source=str(tiny_folder))).train
    return train.images[:, 0].numpy(), train.labels.numpy()


@pytest.fixture(scope="module")
def memory_run(arrays: tuple[Any, Any], tmp_path_factory: pytest.TempPathFactory) -> modiste.Run:
    out = tmp_path_factory.mktemp("memory") / "run"
    return modiste.train("mlp", out, data=arrays, epochs=1, device="cpu", quiet=True)


class TestDataInMemory:
    """Arrays handed over are trained on, and asked for again by their content."""

    def test_validation_and_test_are_measured_on_the_same_data(
        self, memory_run: modiste.Run, arrays: tuple[Any, Any]
    ) -> None:
        assert modiste.evaluate(memory_run, data=arrays).accuracy == memory_run.accuracy
        tested = modiste.evaluate(memory_run, data=arrays, split="test")
        assert (tested.split, tested.test_openings) == ("test", 1)

    def test_other_data_are_counted_apart(self, memory_run: modiste.Run, arrays: tuple[Any, Any]) -> None:
        before = modiste.Run.open(memory_run).test_openings
        images, labels = arrays
        found = modiste.evaluate(memory_run, data=(255 - images[:40], labels[:40]))
        assert (found.split, found.images) == ("other data", 40)
        assert modiste.Run.open(memory_run).test_openings == before

    def test_other_data_have_no_split_and_no_file_of_predictions(
        self, memory_run: modiste.Run, arrays: tuple[Any, Any], tmp_path: Path
    ) -> None:
        other = (255 - arrays[0][:40], arrays[1][:40])
        with pytest.raises(DataError, match="found --predictions"):
            modiste.evaluate(memory_run, data=other, predictions=tmp_path / "out.csv")
        with pytest.raises(DataError, match="found --split test"):
            modiste.evaluate(memory_run, data=other, split="test")

    def test_a_path_is_named_in_the_recipe(self, arrays: tuple[Any, Any], tmp_path: Path) -> None:
        np.savez(tmp_path / "own.npz", images=arrays[0], labels=arrays[1])
        run = modiste.train("mlp", tmp_path / "run", data=tmp_path / "own.npz", epochs=1, device="cpu", quiet=True)
        assert run.recipe.data.source == str(tmp_path / "own.npz")
        assert modiste.evaluate(run, split="test").images > 0


def test_several_seeds_and_their_mean(tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where: dict[str, Any] = {"device": "cpu", "data_folder": tiny_folder}
    runs = modiste.train_seeds("mlp", [2, 5], tmp_path, epochs=1, data__source="tiny", **where)
    shown = capsys.readouterr().err.splitlines()
    assert [line for line in shown if line.startswith("seed")] == ["seed 2", "seed 5"]
    alone = modiste.train("mlp", tmp_path / "alone", epochs=1, data__source="tiny", seed=5, quiet=True, **where)
    assert capsys.readouterr().err == ""
    assert [run.folder.name for run in runs] == ["mlp-2", "mlp-5"]
    assert runs[1].history == alone.history
    found = modiste.evaluate_seeds(runs)
    assert found.spread.mean == pytest.approx((runs[0].accuracy + runs[1].accuracy) / 2)
    assert "mean of 2 seeds" in repr(found)


def test_a_finished_run_is_trained_on_with_its_own_loss(
    tiny_folder: Path, tiny_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where: dict[str, Any] = {"device": "cpu", "data_folder": tiny_folder, "quiet": True, "loss": others.focal}
    short = modiste.train(tiny_recipe, tmp_path / "one", epochs=1, **where)
    whole = modiste.train(tiny_recipe, tmp_path / "two", epochs=2, **where)
    monkeypatch.setattr(own_code, "_registered", {})
    monkeypatch.chdir(tmp_path)
    longer = modiste.continue_run(short, epochs=2, **where)
    assert longer.folder == Path("runs/tiny")
    assert (longer.recipe, longer.history) == (whole.recipe, whole.history)
    with pytest.raises(RecipeError, match="expected more than the 2 of runs/tiny, found 2"):
        modiste.continue_run("runs/tiny", epochs=2)


def test_several_seeds_want_a_network_that_can_be_built(tiny_folder: Path, tmp_path: Path) -> None:
    built = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(144, 5))
    with pytest.raises(RecipeError, match="expected a class or a function, which gives each seed own weights"):
        modiste.train_seeds("mlp", 2, tmp_path, network=built, data_folder=tiny_folder)


def test_trackers_and_listeners_hear_of_the_run(tiny_folder: Path, tmp_path: Path) -> None:
    class Heard(modiste.Listener):
        def __init__(self) -> None:
            self.epochs, self.run = 0, None

        def epoch_done(self, row: Any, timing: Any) -> None:
            self.epochs += 1

        def finished(self, run: Any) -> None:
            self.run = run.folder

    heard, tracked = Heard(), Heard()
    where: dict[str, Any] = {"device": "cpu", "data_folder": tiny_folder, "quiet": True, "data__source": "tiny"}
    modiste.train("mlp", tmp_path / "run", epochs=2, listeners=[heard], track=tracked, **where)
    for one in (heard, tracked):
        assert (one.epochs, one.run) == (2, tmp_path / "run")


def test_a_cross_validation_gives_an_accuracy_for_each_fold(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = modiste.get_recipe("mlp").with_(data__source="tiny")
    found = modiste.cross_validate(recipe, tmp_path, folds=3, epochs=1, device="cpu", data_folder=tiny_folder)
    assert len(found.accuracies) == 3
    titles = [line for line in capsys.readouterr().err.splitlines() if line.startswith("fold")]
    assert titles == ["fold 1 of 3", "fold 2 of 3", "fold 3 of 3"]
    assert found.spread.mean == pytest.approx(sum(found.accuracies) / 3)
