"""Stopped or crashed anywhere, the same command again: byte for byte the run that nobody disturbed.

The first half does it to real processes of the real command, the second half in this process, in more ways. Processes
are killed in ``test_kills`` and ``test_saving``.
"""

import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from run_equality import assert_same, newest_step, results, words_for

from commands_and_data import child_environment, run_modiste, tiny_files
from fault_counter import slow_case
from modiste.errors import RunError, StoppedError
from modiste.recipes.networks import CNNRecipe, MLPRecipe
from modiste.recipes.recipe import (
    AugmentationRecipe,
    DataRecipe,
    OptimizerRecipe,
    Recipe,
    ScheduleRecipe,
    SelfSupervisedRecipe,
)
from modiste.runs import manifest, run_folder, storage
from modiste.training import trainer
from modiste.training.free_folder import free_folder
from modiste.training.setup import Inputs, can_continue
from modiste.training.step import Steps
from modiste.training.tracking import FileLog, Listener


def disturb(words: list[str], told: Path, delay: float, number: signal.Signals) -> int:
    """Start the command, send it a signal some time after a file is there, and return how it left."""
    child = subprocess.Popen(
        [sys.executable, "-m", "modiste", *words], env=child_environment(), stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while not told.exists() and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.0005)
    time.sleep(delay)
    child.send_signal(number)
    _, errors = child.communicate(timeout=60)
    assert "Traceback" not in errors, errors
    return child.returncode


STOPS = [("facts.json", 0, signal.SIGTERM), ("log.jsonl", 1, signal.SIGINT), ("log.jsonl", 2, signal.SIGTERM)]
"""The file whose return tells how far a start has come, how many pauses later the signal comes, and which signal."""


def stop_again_and_again(words: list[str], run: Path, pause: float) -> list[int]:
    """Send the signals of ``STOPS`` to a run; return the steps after which it stopped, up to its end."""
    steps: list[int] = []
    for name, pauses, number in STOPS:
        for told in ("facts.json", "log.jsonl"):
            (run / told).unlink(missing_ok=True)
        code = disturb(words, run / name, pauses * pause, number)
        if (run / manifest.NAME).exists():  # the run was faster than the signal
            break
        assert code == StoppedError.exit_code == 75
        steps.append(newest_step(run))
    return steps


@pytest.mark.slow
def test_asked_to_stop_again_and_again(recipe_file: Path, tiny_folder: Path, tmp_path: Path, undisturbed: Path) -> None:
    """SIGTERM and SIGINT save the very step, leave with 75, and the same command goes on from there."""
    run = tmp_path / "run"
    words = words_for(recipe_file, tiny_folder, run)
    for pause in (0.06, 0.02, 0.005, 0.3):  # seconds; a fast machine needs a short one, a slow machine a long one
        shutil.rmtree(run, ignore_errors=True)
        steps = stop_again_and_again(words, run, pause)
        if len(steps) == len(STOPS) and any(step % 50 for step in steps):
            break
    else:
        pytest.fail(f"no pause led to {len(STOPS)} stops, one of them within an epoch: the last to {steps}")
    assert steps == sorted(steps)
    done = run_modiste(*words)
    assert done.returncode == 0, done.stderr
    assert_same(run, undisturbed)


def test_another_place_and_hash_seed_give_the_same_bytes(
    recipe_file: Path, tiny_folder: Path, tmp_path: Path, undisturbed: Path
) -> None:
    elsewhere = tmp_path / "with a space" / "ü"
    elsewhere.mkdir(parents=True)
    data = Path(shutil.copytree(tiny_folder, elsewhere / "copied images"))
    words = words_for(recipe_file, data, Path("run"))
    done = run_modiste(*words, cwd=elsewhere, PYTHONHASHSEED="4242", HOME=str(tmp_path), TZ="Asia/Tokyo", LC_ALL="C")
    assert done.returncode == 0, done.stderr
    assert_same(elsewhere / "run", undisturbed)


def test_a_finished_run_is_not_touched_again(
    recipe_file: Path, tiny_folder: Path, tmp_path: Path, undisturbed: Path
) -> None:
    run = Path(shutil.copytree(undisturbed, tmp_path / "run"))
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in run.rglob("*") if path.is_file()}
    assert run_modiste(*words_for(recipe_file, tiny_folder, run)).returncode == 0
    after = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in run.rglob("*") if path.is_file()}
    assert before == after


class Crash(Exception):
    """A defect in a listener, a machine that fails: nothing is saved at that moment."""


class Trouble(Listener):
    """Asks to stop after one step and crashes after another."""

    def __init__(self, stop: int = 0, crash: int = 0) -> None:
        self.stop, self.crash = stop, crash

    def step_done(self, step: int) -> None:
        if step == self.stop:
            signal.raise_signal(signal.SIGTERM)
        if step == self.crash:
            raise Crash


CNN = CNNRecipe(filters=(4, 6), pools=1, hidden=(8,), dropout=0.4)
BASE = Recipe(name="x", epochs=3, batch_size=25, data=DataRecipe(source="tiny"), model=CNN)
VARIANTS = {
    "plain": BASE,
    "bfloat16": replace(BASE, precision="bfloat16"),
    "average": replace(BASE, ema_decay=0.8, model=replace(CNN, batch_norm=True)),
    "sgd": replace(BASE, optimizer=OptimizerRecipe(name="sgd", learning_rate=0.05, weight_decay=1e-3)),
    "sgd without momentum": replace(BASE, optimizer=OptimizerRecipe(name="sgd", momentum=0, nesterov=False)),
    "adamw, clipped, cosine": replace(
        BASE,
        optimizer=OptimizerRecipe(name="adamw", weight_decay=0.1, clip_norm=0.5),
        schedule=ScheduleRecipe(shape="cosine", warm_up=0.1),
    ),
    "average over epochs": replace(BASE, swa_start=0.3, model=replace(CNN, batch_norm=True)),
    "moving average with warm-up, cycles": replace(
        BASE, ema_decay=0.9, ema_warm_up=True, schedule=ScheduleRecipe(shape="cosine", cycles=3, hold=0.2)
    ),
    "sharpness-aware": replace(
        BASE, optimizer=OptimizerRecipe(name="sgd", sam_rho=0.1), model=replace(CNN, batch_norm=True)
    ),
    "augmentation": replace(BASE, augmentation=AugmentationRecipe(flip=True, shift=2), label_smoothing=0.1),
    "random operations and smooth masks": replace(
        BASE,
        precision="bfloat16",
        augmentation=AugmentationRecipe(trivial=0.5, random_ops=2, random_strength=0.3, fmix=1.0),
    ),
    "data pruning": replace(BASE, data_pruning=0.7),
    "mlp": replace(BASE, model=MLPRecipe(hidden=(9, 8), dropout=0.2, batch_norm=True), standardize=True, epochs=4),
    "the last split, squared error, prior": replace(
        BASE,
        data=DataRecipe(source="tiny", split="last"),
        objective="squared-error",
        warm_start="class-prior",
        pick="best-loss",
    ),
    "simclr": replace(BASE, warm_start="simclr", self_supervised=SelfSupervisedRecipe(epochs=1, batch_size=100)),
    "all at once": replace(
        BASE,
        precision="bfloat16",
        ema_decay=0.9,
        augmentation=AugmentationRecipe(flip=True, shift=1),
        optimizer=OptimizerRecipe(name="adamw", weight_decay=0.05),
        schedule=ScheduleRecipe(shape="one-cycle", warm_up=0.25),
        patience=1,
        pick="last",
    ),
}


@pytest.fixture(scope="module")
def calm(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of BASE that nobody disturbed; never changed."""
    run = tmp_path_factory.mktemp("calm") / "run"
    trainer.train(BASE, run, Inputs(tiny_folder), device="cpu")
    return run


OF_OTHERS = ("plain", "bfloat16", "augmentation", "sgd without momentum", "random operations and smooth masks")
"""Variants of which the others, and the tests of a stop at an edge, have nearly everything."""


@pytest.mark.parametrize(
    "recipe", [(slow_case if name in OF_OTHERS else pytest.param)(one, id=name) for name, one in VARIANTS.items()]
)
def test_every_kind_of_training_goes_on_exactly(recipe: Recipe, tiny_folder: Path, tmp_path: Path) -> None:
    """Stopped in the first epoch (saved), crashed in the second (not saved), then to the end: 16 steps an epoch."""
    calm, troubled = tmp_path / "calm", tmp_path / "troubled"
    trainer.train(recipe, calm, Inputs(tiny_folder), device="cpu")
    for trouble, error in ((Trouble(stop=5), StoppedError), (Trouble(crash=27), Crash)):
        with pytest.raises(error):
            trainer.train(recipe, troubled, Inputs(tiny_folder), device="cpu", listeners=[trouble])
    assert newest_step(troubled) == 16
    trainer.train(recipe, troubled, Inputs(tiny_folder), device="cpu")
    assert_same(troubled, calm)


def test_where_epochs_are_short_states_are_fewer_and_training_goes_on_as_exactly(
    calm: Path, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stop is saved at once, the end as well; a crash in the third epoch goes back to the stop in the first."""
    monkeypatch.setattr(Steps, "SECONDS_BETWEEN_STATES", 3600.0)
    kept = []
    for trouble, error in ((Trouble(stop=5), StoppedError), (Trouble(crash=40), Crash)):
        with pytest.raises(error):
            trainer.train(BASE, tmp_path / "run", Inputs(tiny_folder), device="cpu", listeners=[trouble])
        kept.append((newest_step(tmp_path / "run"), len(list((tmp_path / "run").glob("checkpoints/*")))))
    assert kept == [(5, 1), (5, 1)]
    assert len((tmp_path / "run" / run_folder.LOG).read_text(encoding="utf-8").splitlines()) == 2
    trainer.train(BASE, tmp_path / "run", Inputs(tiny_folder), device="cpu")
    assert newest_step(tmp_path / "run") == 48
    assert_same(tmp_path / "run", calm)


class Warming(Trouble):
    """The same in the warm start, whose steps it counts."""

    def __init__(self, stop: int = 0, crash: int = 0) -> None:
        super().__init__(stop, crash)
        self.warming = 0

    def pretraining_step_done(self, step: int) -> None:
        self.warming += 1
        super().step_done(step)

    def step_done(self, _step: int) -> None:
        raise Crash


def test_a_warm_start_begins_again_when_killed_and_is_kept_when_done(tiny_folder: Path, tmp_path: Path) -> None:
    recipe, calm, run = VARIANTS["simclr"], tmp_path / "calm", tmp_path / "run"
    trainer.train(recipe, calm, Inputs(tiny_folder), device="cpu")
    told = []
    for trouble, error in ((Warming(stop=2), StoppedError), (Warming(crash=3), Crash), (Warming(), Crash)):
        with pytest.raises(error):
            trainer.train(recipe, run, Inputs(tiny_folder), device="cpu", listeners=[trouble])
        told.append((trouble.warming, [path.name[:13] for path in run.glob("checkpoints/*")]))
    assert told == [(2, []), (3, []), (4, ["step-00000000"])]
    again = Warming()
    with pytest.raises(Crash):
        trainer.train(recipe, run, Inputs(tiny_folder), device="cpu", listeners=[again])
    assert again.warming == 0
    trainer.train(recipe, run, Inputs(tiny_folder), device="cpu")
    assert_same(run, calm)
    assert len(run_folder.open_run(run).pretraining()) == 1


def test_a_stop_at_the_warm_starts_last_step_keeps_it(tiny_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(StoppedError, match="after step 0; everything is saved"):
        trainer.train(
            VARIANTS["simclr"], tmp_path / "run", Inputs(tiny_folder), device="cpu", listeners=[Warming(stop=4)]
        )
    assert [path.name[:13] for path in (tmp_path / "run").glob("checkpoints/*")] == ["step-00000000"]


@pytest.mark.parametrize("step", [15, 16, 17, 32, 47])
def test_a_stop_at_an_edge_of_an_epoch(step: int, calm: Path, tiny_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(StoppedError, match=f"stopped on request after step {step}"):
        trainer.train(BASE, tmp_path / "run", Inputs(tiny_folder), device="cpu", listeners=[Trouble(stop=step)])
    assert newest_step(tmp_path / "run") == step
    trainer.train(BASE, tmp_path / "run", Inputs(tiny_folder), device="cpu")
    assert_same(tmp_path / "run", calm)


def test_a_stop_after_the_last_step_finishes(tiny_folder: Path, tmp_path: Path) -> None:
    trainer.train(BASE, tmp_path / "run", Inputs(tiny_folder), device="cpu", listeners=[Trouble(stop=48)])
    run_folder.open_run(tmp_path / "run")
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.fixture(scope="module")
def stopped(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of BASE that was stopped in its second epoch; never changed."""
    run = tmp_path_factory.mktemp("stopped") / "run"
    with pytest.raises(StoppedError):
        trainer.train(BASE, run, Inputs(tiny_folder), device="cpu", listeners=[Trouble(stop=20)])
    return run


class TestRunsOfEarlierVersions:
    """Whose recipe lacks a field that came later; it has the value with which they were trained, not the default."""

    @pytest.fixture
    def begun(self, stopped: Path, tmp_path: Path) -> Path:
        run = Path(shutil.copytree(stopped, tmp_path / "runs" / BASE.name))
        plain = storage.read_json(run / run_folder.RECIPE)
        del plain["data"]["decoder"]
        storage.write_json(run / run_folder.RECIPE, plain)
        return run

    @pytest.mark.parametrize("decoder", [DataRecipe().decoder, 1])
    def test_the_command_that_began_one_continues_it(self, decoder: int, begun: Path, tiny_folder: Path) -> None:
        """With the flag that the value needs now, and without."""
        recipe = replace(BASE, data=replace(BASE.data, decoder=decoder))
        trainer.train(recipe, begun, Inputs(tiny_folder), device="cpu")
        run = run_folder.open_run(begun)
        assert run.recipe == run.load_info().recipe
        assert run.recipe.data.decoder == 1

    def test_its_folder_is_found_again(self, begun: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(begun.parents[1])
        assert free_folder(BASE, "cpu") == Path("runs") / BASE.name

    def test_another_value_is_another_recipe(self, begun: Path, tiny_folder: Path) -> None:
        with pytest.raises(RunError, match=r"another recipe \(data\.decoder: 1 became 2\)"):
            trainer.train(replace(BASE, data=replace(BASE.data, decoder=2)), begun, Inputs(tiny_folder), device="cpu")

    def test_once_finished_it_can_be_trained_on(self, begun: Path, tiny_folder: Path) -> None:
        longer = replace(BASE, epochs=BASE.epochs + 1)
        assert not can_continue(begun, longer)
        trainer.train(BASE, begun, Inputs(tiny_folder), device="cpu")
        assert can_continue(begun, longer)


class TestRefusals:
    @pytest.fixture
    def begun(self, stopped: Path, tmp_path: Path) -> Path:
        return Path(shutil.copytree(stopped, tmp_path / "run"))

    def test_another_recipe_with_the_difference(self, begun: Path, tiny_folder: Path) -> None:
        other = replace(BASE, seed=1, optimizer=replace(BASE.optimizer, learning_rate=0.01))
        with pytest.raises(
            RunError, match=r"another recipe \(seed: 0 became 1; optimizer.learning_rate: 0.001 became 0.01\)"
        ):
            trainer.train(other, begun, Inputs(tiny_folder), device="cpu")
        trainer.train(BASE, begun, Inputs(tiny_folder), device="cpu")
        with pytest.raises(RunError, match="another recipe"):
            trainer.train(other, begun, Inputs(tiny_folder), device="cpu")

    def test_other_data(self, begun: Path, tiny_folder: Path, tmp_path: Path) -> None:
        before = {path: path.read_bytes() for path in (begun / "checkpoints").iterdir()}
        changed = Path(shutil.copytree(tiny_folder, tmp_path / "changed"))
        for name, content in tiny_files(seed=8).items():
            (changed / name).write_bytes(content)
        with pytest.raises(
            RunError, match=r"was trained on other data \(fingerprint [0-9a-f]{16}, found [0-9a-f]{16}\)"
        ):
            trainer.train(BASE, begun, Inputs(changed), device="cpu")
        assert {path: path.read_bytes() for path in (begun / "checkpoints").iterdir()} == before
        trainer.train(BASE, begun, Inputs(tiny_folder), device="cpu")

    def test_a_folder_of_other_things_is_left_as_it_was(self, tmp_path: Path, tiny_folder: Path) -> None:
        things = {"photo.jpg": b"jpg", ".download-xyz.part": b"half", "sub/.film.mkv.part": b"half a film"}
        for name, content in things.items():
            (tmp_path / "home" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "home" / name).write_bytes(content)
        with pytest.raises(RunError, match=r"not a run folder and not empty .*choose another with --out"):
            trainer.train(BASE, tmp_path / "home", Inputs(tiny_folder), device="cpu")
        left = {
            str(path.relative_to(tmp_path / "home")): path for path in (tmp_path / "home").rglob("*") if path.is_file()
        }
        assert things == {name: path.read_bytes() for name, path in left.items() if name in things}

    @pytest.mark.parametrize("name", ["timing.jsonl", "facts.json"])
    @pytest.mark.parametrize("content", ["{}\n", "[]\n", "3\n", "null\n", '{"epogh": 1}\n', "{", "\xff"])
    @pytest.mark.usefixtures("without_type_checks")
    def test_side_files_that_are_damaged_never_end_in_a_traceback(
        self, name: str, content: str, begun: Path, tiny_folder: Path, tmp_path: Path
    ) -> None:
        (begun / name).write_text(content, encoding="latin-1")
        told = ""
        try:
            trainer.train(BASE, begun, Inputs(tiny_folder), device="cpu")
        except RunError as error:
            told = str(error)
        assert name in told or (begun / manifest.NAME).exists()

    @pytest.mark.parametrize(
        ("content", "fault"),
        [
            ("{", "cannot be read as one JSON value per line"),
            ("[]\n", "expected a table of values on each line"),
            ('{"epogh": 1}\n', "damaged, a line has no epoch"),
            ("\xff", "damaged, cannot be read as UTF-8"),
        ],
    )
    def test_without_earlier_timings_where_their_file_is_damaged(
        self, content: str, fault: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        path = tmp_path / run_folder.TIMING
        path.write_text(content, encoding="latin-1")
        FileLog(tmp_path).started(BASE, 1, [], 0)
        assert run_folder.read_lines(path) == []
        assert str(path) in caplog.text
        assert fault in caplog.text
        assert "; the timings of earlier epochs are lost" in caplog.text

    def test_a_damaged_state_is_passed_over_and_said(
        self, begun: Path, calm: Path, tiny_folder: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        newest = sorted((begun / "checkpoints").iterdir())[-1]
        newest.write_bytes(newest.read_bytes()[:-1])
        trainer.train(BASE, begun, Inputs(tiny_folder), device="cpu")
        assert f"{newest}: damaged" in caplog.text
        assert "going on from the state before it" in caplog.text
        found, expected = (run_folder.open_run(run) for run in (begun, calm))
        assert found.history == expected.history
        assert (begun / "model.safetensors").read_bytes() == (calm / "model.safetensors").read_bytes()


def test_tensorboard_in_a_new_folder(recipe_file: Path, tiny_folder: Path, tmp_path: Path, undisturbed: Path) -> None:
    pytest.importorskip("tensorboard")
    words = words_for(recipe_file, tiny_folder, tmp_path / "run")
    done = run_modiste(*words, "--tensorboard")
    assert done.returncode == 0, done.stderr
    assert "--tensorboard is --track tensorboard now" in done.stderr
    assert list((tmp_path / "run" / "tensorboard").glob("events*"))
    assert {
        name for name, content in results(undisturbed).items() if results(tmp_path / "run")[name] != content
    } == set()
