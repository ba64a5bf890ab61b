"""Seeds trained at once against the same seeds trained alone."""

import json
import shutil
import signal
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from commands_and_data import tiny_files
from fault_counter import slow_case
from modiste.cli import main
from modiste.cli import train as cli_train
from modiste.errors import DivergedError, RecipeError, RunError, StoppedError
from modiste.evaluation.ensemble import evaluate_together
from modiste.evaluation.statistics import spread
from modiste.recipes import named
from modiste.recipes.networks import CapsNetRecipe, CNNRecipe, DropConnectRecipe, MLPRecipe, SprintRecipe
from modiste.recipes.plain import to_plain
from modiste.recipes.recipe import (
    AugmentationRecipe,
    OptimizerRecipe,
    Precision,
    Recipe,
    ScheduleRecipe,
    SelfSupervisedRecipe,
    TransferRecipe,
)
from modiste.runs import run_folder
from modiste.runs.checkpoint import load_state
from modiste.runs.run_folder import EpochRow, open_run
from modiste.training import setup, trainer
from modiste.training.seeds import train_every_seed, train_seeds
from modiste.training.setup import Inputs
from modiste.training.tracking import Listener, Timing

NORMALISED = CNNRecipe(filters=(4, 8), pools=1, hidden=(16,), dropout=0.25, batch_norm=True)


@pytest.fixture
def sprint(tiny_recipe: Recipe) -> Recipe:
    """Batch normalisation, a whitened frozen layer, augmentation."""
    return replace(
        named.get("sprint"),
        epochs=2,
        batch_size=16,
        precision="float32",
        data=tiny_recipe.data,
        model=SprintRecipe(filters=(18, 8), blocks=1, hidden=16),
        augmentation=AugmentationRecipe(flip=True, shift=1, trivial=0.3, fmix=1.0),
        optimizer=OptimizerRecipe(name="sgd", learning_rate=0.05, weight_decay=0.01),
    )


def both(recipe: Recipe, folder: Path, source: Path, seeds: Sequence[int] = (3, 0)) -> list[tuple[Path, Path]]:
    """Train seeds at once and alone; return the pairs of run folders."""
    together = train_seeds(recipe, seeds, folder / "together", Inputs(source), device="cpu")
    for seed in seeds:
        trainer.train(replace(recipe, seed=seed), folder / f"alone-{seed}", Inputs(source), device="cpu")
    return [(path, folder / f"alone-{seed}") for path, seed in zip(together, seeds, strict=True)]


@pytest.mark.parametrize(
    "changes",
    [
        slow_case({}, id="dropout"),
        pytest.param({"balance": 1.0, "ema_decay": 0.9}, id="weighed classes, average"),
        slow_case({"optimizer": OptimizerRecipe(name="sgd", learning_rate=0.1, clip_norm=0.1)}, id="clipping"),
        pytest.param({"optimizer": OptimizerRecipe(name="sgd", learning_rate=0.1, sam_rho=0.1)}, id="sharpness-aware"),
        slow_case(
            {"swa_start": 0.4, "schedule": ScheduleRecipe(shape="cosine", cycles=2), "model": NORMALISED},
            id="equal average",
        ),
        slow_case({"model": DropConnectRecipe(filters=(4, 4), hidden=8, samples=4)}, id="dropconnect"),
        slow_case({"model": CapsNetRecipe(filters=8, kernel_size=3), "objective": "margin"}, id="capsules"),
    ],
)
def test_every_seed_comes_to_what_it_comes_to_alone(
    changes: dict[str, object], tiny_recipe: Recipe, tiny_folder: Path, tmp_path: Path
) -> None:
    for together, alone in both(replace(tiny_recipe, epochs=2, **changes), tmp_path, tiny_folder):  # type: ignore[arg-type]
        assert_same(together, alone)


def test_without_epochs_every_seed_is_measured_as_alone(tiny_recipe: Recipe, tiny_folder: Path, tmp_path: Path) -> None:
    fitted = TransferRecipe(freeze=("network.convolutions",), linear_probe=True)
    recipe = replace(tiny_recipe, epochs=0, model=CNNRecipe(filters=(4, 6), hidden=()), transfer=fitted)
    for together, alone in both(recipe, tmp_path, tiny_folder):
        assert_same(together, alone)
        assert [row.epoch for row in open_run(together).history] == [0]


@pytest.mark.slow
def test_so_do_three_seeds(tiny_recipe: Recipe, tiny_folder: Path, tmp_path: Path) -> None:
    for together, alone in both(replace(tiny_recipe, epochs=2), tmp_path, tiny_folder, seeds=(3, 0, 7)):
        assert_same(together, alone)


@pytest.mark.parametrize("precision", [slow_case("float32"), "bfloat16"])
def test_so_it_does_with_normalisation_and_augmentation(
    precision: Precision, sprint: Recipe, tiny_folder: Path, tmp_path: Path
) -> None:
    pairs = both(replace(sprint, precision=precision), tmp_path, tiny_folder)
    for together, alone in pairs:
        assert_same(together, alone)
    losses = [open_run(together).history[-1].train_loss for together, _ in pairs]
    assert max(losses) - min(losses) > 1e-4, "the seeds are not alike"  # rounding is a hundredth of this


def assert_same(together: Path, alone: Path) -> None:
    """The figures up to the rounding of sums over images, the weights to the last bit."""
    one, other = open_run(together), open_run(alone)
    assert one.recipe == other.recipe
    for mine, its in zip(one.history, other.history, strict=True):
        assert mine.train_loss == pytest.approx(its.train_loss, rel=1e-6)
        assert replace(mine, train_loss=its.train_loss) == its
    weights, its_weights = (run.load_model()[0].state_dict() for run in (one, other))
    assert weights.keys() == its_weights.keys()
    for name, tensor in weights.items():
        assert torch.equal(tensor, its_weights[name]), name


def test_a_frozen_layer_stays_and_running_means_move(sprint: Recipe, tiny_folder: Path, tmp_path: Path) -> None:
    weights = []
    for epochs in (1, 2):
        (folder,) = train_seeds(replace(sprint, epochs=epochs), [0], tmp_path / f"{epochs}", Inputs(tiny_folder))
        weights.append(open_run(folder).load_model()[0].state_dict())
    once, twice = weights
    still = {name for name in once if torch.equal(once[name], twice[name])}
    assert still == {"standardize.mean", "standardize.deviation", "network.convolutions.0.weight"}


def test_finished_seeds_are_left_as_they_are(tiny_recipe: Recipe, tiny_folder: Path, tmp_path: Path) -> None:
    recipe = replace(tiny_recipe, epochs=1)
    trainer.train(replace(recipe, seed=1), tmp_path / "tiny-1", Inputs(tiny_folder), device="cpu")
    before = (tmp_path / "tiny-1" / "model.safetensors").stat().st_mtime_ns
    for _ in range(2):
        folders = train_seeds(recipe, [0, 1], tmp_path, Inputs(tiny_folder), device="cpu")
    assert [open_run(folder).recipe.seed for folder in folders] == [0, 1]
    assert (tmp_path / "tiny-1" / "model.safetensors").stat().st_mtime_ns == before
    assert len(open_run(folders[0]).facts()) == 1


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"patience": 2}, "patience: not possible with several seeds at once, found 2"),
        ({"transfer": TransferRecipe(source="0" * 64)}, "transfer.source"),
    ],
)
def test_what_is_done_for_one_network_alone_is_refused(
    changes: dict[str, object], complaint: str, tiny_recipe: Recipe, tiny_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match=complaint):
        train_seeds(replace(tiny_recipe, **changes), [0, 1], tmp_path, Inputs(tiny_folder))  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


class StopAt(Listener):
    """Asks to stop after a step, and notes what it hears."""

    def __init__(self, last: int) -> None:
        self.last, self.heard = last, list[str]()

    def started(self, recipe: Recipe, steps_per_epoch: int, history: Sequence[EpochRow], step: int) -> None:
        self.heard.append(f"from {step}")

    def step_done(self, step: int) -> None:
        if step == self.last:
            signal.raise_signal(signal.SIGTERM)

    def epoch_done(self, row: EpochRow, timing: Timing) -> None:
        self.heard.append(f"epoch {row.epoch}")

    def stopped(self) -> None:
        self.heard.append("stopped")


@pytest.mark.parametrize("step", [slow_case(7), slow_case(25), 40])
def test_an_unfinished_single_run_goes_on_beside_new_ones(
    step: int, tiny_recipe: Recipe, tiny_folder: Path, tmp_path: Path
) -> None:
    recipe, where = replace(tiny_recipe, epochs=2), {"inputs": Inputs(tiny_folder), "device": "cpu"}
    with pytest.raises(StoppedError):
        trainer.train(replace(recipe, seed=1), tmp_path / "tiny-1", listeners=[StopAt(step)], **where)  # type: ignore[arg-type]
    heard = {seed: StopAt(0) for seed in (0, 1)}
    folders = train_seeds(recipe, [0, 1], tmp_path, listeners=lambda seed: [heard[seed]], **where)  # type: ignore[arg-type]
    assert heard[1].heard[0] == f"from {step}"
    assert heard[0].heard == ["from 0", "epoch 1", "epoch 2", "stopped"]
    assert [len(open_run(folder).facts()) for folder in folders] == [1, 2]
    for seed, folder in enumerate(folders):
        trainer.train(replace(recipe, seed=seed), tmp_path / f"alone-{seed}", **where)  # type: ignore[arg-type]
        assert_same(folder, tmp_path / f"alone-{seed}")
        states = [load_state(path / run_folder.STATES) for path in (folder, tmp_path / f"alone-{seed}")]
        assert [state.plain["step"] for state in states if state] == [50, 50]


@pytest.mark.parametrize("step", [slow_case(3), slow_case(25), 30])
def test_seeds_that_were_stopped_go_on(step: int, tiny_recipe: Recipe, tiny_folder: Path, tmp_path: Path) -> None:
    recipe, where = replace(tiny_recipe, epochs=2, ema_decay=0.9), {"inputs": Inputs(tiny_folder), "device": "cpu"}
    whole = train_seeds(recipe, [0, 1], tmp_path / "whole", **where)  # type: ignore[arg-type]
    with pytest.raises(StoppedError, match=f"after step {step}; everything is saved in .*parts"):
        train_seeds(recipe, [0, 1], tmp_path / "parts", listeners=lambda seed: [StopAt(-1 if seed else step)], **where)  # type: ignore[arg-type]
    for path, other in zip(train_seeds(recipe, [1, 0], tmp_path / "parts", **where), whole[::-1], strict=True):  # type: ignore[arg-type]
        for name in (run_folder.LOG, *run_folder.WEIGHTS.values(), run_folder.VALIDATION_LOGITS):
            assert (path / name).read_bytes() == (other / name).read_bytes(), name


def test_a_run_goes_on_with_the_threads_that_it_began_with(
    tiny_recipe: Recipe, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    recipe, where = replace(tiny_recipe, epochs=1), {"inputs": Inputs(tiny_folder), "device": "cpu"}
    with pytest.raises(StoppedError):
        trainer.train(replace(recipe, seed=1), tmp_path / "tiny-1", listeners=[StopAt(4)], **where)  # type: ignore[arg-type]
    began = setup.starts_of(tmp_path / "tiny-1")[0]["threads"]
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        train_seeds(recipe, [1], tmp_path, **where)  # type: ignore[arg-type]
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)
    assert [start["threads"] for start in open_run(tmp_path / "tiny-1").facts()] == [began, began]


def test_a_state_of_other_images_is_refused(tiny_recipe: Recipe, tiny_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(StoppedError):
        trainer.train(tiny_recipe, tmp_path / "tiny-0", Inputs(tiny_folder), device="cpu", listeners=[StopAt(4)])
    other = tmp_path / "tiny"
    other.mkdir()
    for name, content in tiny_files(seed=8).items():
        (other / name).write_bytes(content)
    with pytest.raises(RunError, match="tiny-0: was trained on other data"):
        train_seeds(tiny_recipe, [0, 1], tmp_path, Inputs(other), device="cpu")


def test_a_last_batch_of_one_and_a_seed_given_twice_are_refused(
    tiny_recipe: Recipe, tiny_folder: Path, tmp_path: Path
) -> None:
    alone = replace(tiny_recipe, batch_size=19, model=MLPRecipe(hidden=(4,), batch_norm=True))  # 400 = 21 * 19 + 1
    with pytest.raises(RecipeError, match="no batch of a single of the 400 training images"):
        train_seeds(alone, [0, 1], tmp_path, Inputs(tiny_folder), device="cpu")
    with pytest.raises(RecipeError, match="seeds: expected each once, found 0, 1, 0"):
        train_seeds(tiny_recipe, [0, 1, 0], tmp_path, Inputs(tiny_folder), device="cpu")


def test_a_loss_that_is_not_finite_ends_all(tiny_recipe: Recipe, tiny_folder: Path, tmp_path: Path) -> None:
    wild = replace(tiny_recipe, optimizer=OptimizerRecipe(name="sgd", learning_rate=1e30))
    with pytest.raises(DivergedError):
        train_seeds(wild, [0, 1], tmp_path, Inputs(tiny_folder), device="cpu")


def test_finished_seeds_need_no_images(tiny_recipe: Recipe, tiny_folder: Path, tmp_path: Path) -> None:
    recipe = replace(tiny_recipe, epochs=1)
    folders = train_seeds(recipe, [0, 1], tmp_path / "runs", Inputs(tiny_folder), device="cpu")
    assert train_seeds(recipe, [0, 1], tmp_path / "runs", Inputs(tmp_path / "gone"), device="cpu") == folders


def test_several_seeds_are_for_one_process(
    tiny_recipe: Recipe, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "test")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RecipeError, match="for one process; found 2 under torchrun"):
        train_seeds(replace(tiny_recipe, epochs=1), [0, 1], tmp_path, Inputs(tiny_folder), device="cpu")
    assert not list(tmp_path.iterdir())


class StopInWarmStart(StopAt):
    """Asks to stop after the first step of the warm start."""

    def pretraining_step_done(self, step: int) -> None:
        signal.raise_signal(signal.SIGTERM)


def test_stopped_in_the_warm_start_all_have_begun_and_go_on_together(
    tiny_recipe: Recipe, tiny_folder: Path, tmp_path: Path
) -> None:
    settings = SelfSupervisedRecipe(epochs=1, batch_size=100, projection=8)
    recipe = replace(tiny_recipe, epochs=1, warm_start="simclr", self_supervised=settings)
    heard = {seed: StopInWarmStart(0) for seed in (0, 1)}
    with pytest.raises(StoppedError, match="after step 1 of the warm start simclr"):
        train_seeds(recipe, [0, 1], tmp_path, Inputs(tiny_folder), device="cpu", listeners=lambda seed: [heard[seed]])
    assert [heard[seed].heard for seed in (0, 1)] == [["stopped"], ["stopped"]]
    assert [len(setup.starts_of(tmp_path / f"tiny-{seed}")) for seed in (0, 1)] == [1, 1]


def test_seeds_in_turn_are_the_runs_that_they_are_alone(tiny_recipe: Recipe, tiny_folder: Path, tmp_path: Path) -> None:
    """To the last byte, also where one has been trained before and one was stopped."""
    recipe, where = replace(tiny_recipe, patience=5), {"inputs": Inputs(tiny_folder), "device": "cpu"}
    for seed in (3, 0, 7):
        trainer.train(replace(recipe, seed=seed), tmp_path / f"alone-{seed}", **where)  # type: ignore[arg-type]
    shutil.copytree(tmp_path / "alone-0", tmp_path / "turn" / "tiny-0")
    with pytest.raises(StoppedError):
        trainer.train(replace(recipe, seed=7), tmp_path / "turn" / "tiny-7", listeners=[StopAt(30)], **where)  # type: ignore[arg-type]
    heard = {seed: StopAt(-1) for seed in (3, 0, 7)}
    runs = train_every_seed(recipe, (3, 0, 7), tmp_path / "turn", listeners=lambda seed: [heard[seed]], **where)  # type: ignore[arg-type]
    assert [run.folder.name for run in runs] == ["tiny-3", "tiny-0", "tiny-7"]
    assert not heard[0].heard
    assert heard[7].heard[0] == "from 30"
    for run in runs:
        for name in ("model.safetensors", "last.safetensors", "log.jsonl"):
            assert (run.folder / name).read_bytes() == (tmp_path / f"alone-{run.recipe.seed}" / name).read_bytes()


def test_images_are_loaded_once_for_all_seeds(
    tiny_recipe: Recipe, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = []
    load = setup.load_development
    monkeypatch.setattr(setup, "load_development", lambda *where: loaded.append(where) or load(*where))
    recipe, where = replace(tiny_recipe, epochs=1), {"inputs": Inputs(tiny_folder), "device": "cpu"}
    for _ in range(2):
        train_every_seed(recipe, range(3), tmp_path, **where)  # type: ignore[arg-type]
    assert len(loaded) == 1, "and not at all where every run has finished"
    with pytest.raises(RecipeError, match="seeds: expected each once, found none"):
        train_every_seed(recipe, (), tmp_path, **where)  # type: ignore[arg-type]


def test_seeds_on_the_command_line(
    tiny_recipe: Recipe, tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Trained, evaluated one by one and as one, and refused where the mean would say nothing."""
    recipe = tmp_path / "tiny.json"
    recipe.write_text(json.dumps(to_plain(replace(tiny_recipe, epochs=1))))

    def run(*words: object) -> str:
        main.main([*map(str, words), "--data-folder", str(tiny_folder), "--device", "cpu"])
        return capsys.readouterr().out

    trained = run("train", recipe, "--seeds", "4,2", "--out", tmp_path / "runs")
    accuracies = [open_run(tmp_path / "runs" / f"tiny-{seed}").picked.validation_accuracy for seed in (4, 2)]
    assert f"mean of 2 seeds: {spread(accuracies)} on validation" in trained
    folders = [tmp_path / "runs" / f"tiny-{seed}" for seed in (4, 2)]
    shown = run("evaluate", *folders).splitlines()
    assert shown[-1].split(maxsplit=4)[4] == str(spread(accuracies))
    plain = json.loads(run("evaluate", *folders, "--json"))
    assert (plain["mean"], plain["seeds"]) == (spread(accuracies).mean, [4, 2])
    assert [run["accuracy"] for run in plain["runs"]] == accuracies
    ensemble = json.loads(run("evaluate", *folders, "--ensemble", "--json"))
    assert ensemble["accuracy"] == evaluate_together(folders, data_folder=tiny_folder).accuracy


@pytest.mark.parametrize("text", ["0", "x", "3,", "-1", "2.5"])
def test_seeds_that_are_no_seeds(text: str) -> None:
    with pytest.raises(RecipeError, match="--seeds: expected a number of seeds such as 5, or a list such as 3,5,9"):
        cli_train._seeds(text)


def test_seeds_are_a_number_or_a_list() -> None:
    assert cli_train._seeds("5") == [0, 1, 2, 3, 4]
    assert cli_train._seeds("3, 5,9") == [3, 5, 9]
