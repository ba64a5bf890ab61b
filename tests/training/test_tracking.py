"""Trackers: what they record is read back with the tools' own readers, and no tracker changes a run."""

import json
import logging
import os
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from commands_and_data import child_environment
from listeners import StopAfter
from modiste.errors import FolderInUseError, MissingExtraError, RecipeError, RunError, StoppedError
from modiste.recipes.recipe import Recipe
from modiste.runs import run_folder, storage
from modiste.runs.run_folder import EpochRow, Run, open_run
from modiste.searches.trial import TrialTask, run_trial
from modiste.training import trainer
from modiste.training.seeds import train_seeds
from modiste.training.setup import Inputs
from modiste.training.tracking import Listener, Timing, trackers
from modiste.training.tracking.tensorboard import TensorBoardTracker
from modiste.training.tracking.tracked_run import FILES, identify, parameters
from modiste.training.tracking.trackers import Background

EPOCH = EpochRow(
    epoch=1,
    step=25,
    learning_rate=0.001,
    train_loss=1.0,
    train_accuracy=0.5,
    validation_loss=1.0,
    validation_accuracy=0.5,
)
TIMING = Timing(1.0, 0.5, 100.0, 10)
FIGURES = {"learning_rate", "train_loss", "train_accuracy", "validation_loss", "validation_accuracy", "step"}
SENT = {"model.safetensors", "recipe.json", "log.jsonl", "timing.jsonl", "facts.json", "manifest.json"}
Train = Callable[..., Path]


class Recorder(Listener):
    """Notes the events, and what of the run is there at each."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.steps: list[int] = []
        self.threads: set[int] = set()

    def started(self, recipe: Recipe, steps_per_epoch: int, history: Sequence[EpochRow], step: int) -> None:
        self.events.append(f"started after {len(history)} epochs")
        self.threads.add(threading.get_ident())

    def step_done(self, step: int) -> None:
        self.steps.append(step)

    def epoch_done(self, row: EpochRow, timing: Timing) -> None:
        self.events.append(f"epoch {row.epoch}")

    def stopped(self) -> None:
        self.events.append("stopped")

    def finished(self, run: Run) -> None:
        self.events.append(f"finished {run.recipe.name}")
        run_folder.keep(run, {"note.txt": b"the folder is free"})

    def closed(self) -> None:
        self.events.append("closed")


class Failing(Listener):
    """Fails at one event with one kind of error."""

    def __init__(self, event: str, error: BaseException) -> None:
        self.calls = 0

        def fail(*_arguments: Any) -> None:
            self.calls += 1
            raise error

        setattr(self, event, fail)


class Hanging(Listener):
    """Never returns from the first epoch, until the test lets it go; before that it draws random numbers."""

    def __init__(self) -> None:
        self.released = threading.Event()

    def started(self, recipe: Recipe, steps_per_epoch: int, history: Sequence[EpochRow], step: int) -> None:
        torch.manual_seed(5)
        torch.rand(100)

    def epoch_done(self, row: EpochRow, timing: Timing) -> None:
        self.released.wait(60)


@pytest.fixture
def train_tiny(tiny_recipe: Recipe, tiny_folder: Path, tmp_path: Path) -> Train:
    """Trains the small recipe into ``tmp_path/tiny`` with the listeners given."""

    def train(*listeners: Listener) -> Path:
        folder = tmp_path / "tiny"
        trainer.train(tiny_recipe, folder, Inputs(tiny_folder), device="cpu", listeners=listeners)
        return folder

    return train


@pytest.fixture
def sent_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Settings under which MLflow and W&B keep everything in the test's folder; returns it."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    for name in ("DIR", "CACHE_DIR", "CONFIG_DIR", "DATA_DIR", "ARTIFACT_DIR"):
        monkeypatch.setenv(f"WANDB_{name}", str(tmp_path))
    monkeypatch.setattr(trackers, "PATIENCE_SECONDS", 250.0)  # the machine may be busy
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    return tmp_path


def stopped_at(step: int, train: Train, *listeners: Listener) -> None:
    with pytest.raises(StoppedError):
        train(*listeners, StopAfter(step))


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_listener_hears_a_run_from_start_to_end(train_tiny: Train) -> None:
    recorder = Recorder()
    folder = train_tiny(recorder)
    epochs = ["epoch 1", "epoch 2", "epoch 3"]
    assert recorder.events == ["started after 0 epochs", *epochs, "stopped", "finished tiny", "closed"]
    assert recorder.steps == list(range(1, 76))
    assert (folder / "note.txt").exists()
    open_run(folder)


def test_a_listener_hears_when_a_run_ends_early(train_tiny: Train) -> None:
    first, second, third = Recorder(), Recorder(), Recorder()
    stopped_at(30, train_tiny, first)
    assert first.events == ["started after 0 epochs", "epoch 1", "stopped", "closed"]
    train_tiny(second)
    assert second.events[0] == "started after 1 epochs"
    assert second.events[-2:] == ["finished tiny", "closed"]
    train_tiny(third)
    assert third.events == ["closed"], "a finished run is not announced again"


def test_several_seeds_are_announced_too(tiny_recipe: Recipe, tiny_folder: Path, tmp_path: Path) -> None:
    recorders = {0: Recorder(), 1: Recorder()}
    where = {"inputs": Inputs(tiny_folder), "device": "cpu"}
    recipe = replace(tiny_recipe, epochs=1)
    train_seeds(recipe, [0, 1], tmp_path, listeners=lambda seed: [recorders[seed]], **where)  # type: ignore[arg-type]
    for recorder in recorders.values():
        assert recorder.events == ["started after 0 epochs", "epoch 1", "stopped", "finished tiny", "closed"]


def test_a_tracker_runs_on_a_thread_of_its_own(train_tiny: Train) -> None:
    recorder = Recorder()
    train_tiny(Background("mine", recorder))
    assert recorder.events[0] == "started after 0 epochs"
    assert recorder.events[-2:] == ["finished tiny", "closed"]
    assert recorder.steps == list(range(1, 76))
    assert recorder.threads
    assert threading.get_ident() not in recorder.threads


def test_trackers_that_fail_or_hang_change_no_byte(
    train_tiny: Train, finished_run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    failing, leaving, hanging = (
        Failing("epoch_done", ValueError("no\nroom")),
        Failing("started", SystemExit(3)),
        Hanging(),
    )
    members = {"failing": failing, "leaving": leaving, "hanging": hanging}
    began = time.monotonic()
    patience = {"hanging": 0.3}  # on a busy machine the others might seem to hang
    folder = train_tiny(*(Background(name, one, patience=patience.get(name, 30.0)) for name, one in members.items()))
    hanging.released.set()
    assert time.monotonic() - began < 30
    assert failing.calls == leaving.calls == 1, "called no more after its first error"
    assert sorted(warnings(caplog)) == [
        "tracking with failing: ValueError: no; the run goes on without it",
        "tracking with hanging: had not ended 0.3 seconds after the run; the run goes on without it",
        "tracking with leaving: SystemExit: 3; the run goes on without it",
    ]
    for name in ("model.safetensors", "last.safetensors", "log.jsonl", "validation-logits.safetensors"):
        assert (folder / name).read_bytes() == (finished_run / name).read_bytes()


def test_events_do_not_pile_up(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(trackers, "MOST_WAITING", 5)
    hanging = Hanging()
    tracker = Background("slow", hanging, patience=0.1)
    for _ in range(20):
        tracker.epoch_done(EPOCH, TIMING)
    tracker.closed()
    hanging.released.set()
    assert warnings(caplog) == ["tracking with slow: has not answered for 5 events; the run goes on without it"]


def test_steps_are_passed_on_only_to_those_who_ask() -> None:
    tracker = Background("idle", Listener())
    for step in range(100):
        tracker.step_done(step)
    assert not [thread for thread in threading.enumerate() if thread.name == "tracker idle"]


def test_what_the_run_goes_on_to_change_is_copied() -> None:
    class Late(Listener):
        def started(self, recipe: Recipe, steps_per_epoch: int, history: Sequence[EpochRow], step: int) -> None:
            changed.wait(10)
            self.count = len(history)

    changed, history, late = threading.Event(), [EPOCH], Late()
    tracker = Background("late", late)
    tracker.started(Recipe(name="x"), 1, history, 25)
    history.append(EPOCH)
    changed.set()
    tracker.closed()
    assert late.count == 1


@pytest.mark.parametrize(
    ("name", "module", "extra"),
    [
        ("tensorboard", "torch.utils.tensorboard", "tensorboard"),
        ("mlflow", "mlflow", "mlflow"),
        ("wandb", "wandb", "wandb"),
    ],
)
def test_a_missing_package_is_an_error_before_training(
    name: str, module: str, extra: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=rf"--track {name}: needs .*: pip install 'modiste\[{extra}\]'"):
        trackers.make([name], tmp_path / "run", Recipe(name="x"))
    assert not list(tmp_path.iterdir())


def test_trackers_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """From the table, from an installed package, or as they are; each once."""
    points = EntryPoints([EntryPoint("theirs", "test_tracking:make_theirs", trackers.GROUP)])
    monkeypatch.setattr(trackers, "entry_points", lambda group: points.select(group=group))
    monkeypatch.setitem(trackers.TRACKERS, "ours", lambda _folder, _recipe: Recorder())
    made = trackers.make(["ours,theirs", "ours", Recorder()], tmp_path, Recipe(name="x"))
    assert [one._name for one in made if isinstance(one, Background)] == ["ours", "theirs", "Recorder"]
    with pytest.raises(RecipeError, match="track: no tracker 'their'; did you mean 'theirs'"):
        trackers.make(["their"], tmp_path, Recipe(name="x"))


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("no_such_package:make", "ModuleNotFoundError: No module named 'no_such_package'"),
        ("test_tracking:make_nothing", "AttributeError: module 'test_tracking' has no attribute 'make_nothing'"),
        ("test_tracking:make_failing", r"ValueError: no server \(.*test_tracking.py, line \d+\)"),
    ],
)
def test_a_tracker_whose_package_fails_is_an_error_in_one_line(
    place: str, message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    points = EntryPoints([EntryPoint("theirs", place, trackers.GROUP)])
    monkeypatch.setattr(trackers, "entry_points", lambda group: points.select(group=group))
    with pytest.raises(RecipeError, match=f"^track: theirs: this tracker cannot be used: {message}"):
        trackers.make(["theirs"], tmp_path, Recipe(name="x"))


def make_failing(_folder: Path, _recipe: Recipe) -> Listener:
    """A tracker in somebody else's package that cannot be made."""
    raise ValueError("no server")


def test_a_tracker_of_a_run_without_events_is_closed_too() -> None:
    recorder = Recorder()
    Background("mine", recorder).closed()
    assert recorder.events == ["closed"]


def make_theirs(_folder: Path, _recipe: Recipe) -> Listener:
    """A tracker in somebody else's package."""
    return Recorder()


def test_every_trial_of_a_search_is_tracked(
    tiny_recipe: Recipe, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder()
    monkeypatch.setitem(trackers.TRACKERS, "ours", lambda _folder, _recipe: recorder)
    recipe, curve = replace(tiny_recipe, epochs=2), (1.0, 1.0)
    best_there_is = {"curves": (curve,) * 4, "track": ("ours",), "device": "cpu", "data_folder": tiny_folder}
    task = TrialTask(number=0, values={}, recipe=recipe, folder=tmp_path / "0", **best_there_is)  # type: ignore[arg-type]
    assert run_trial(task).state == "pruned"
    assert recorder.events == ["started after 0 epochs", "epoch 1", "stopped", "closed"]


def test_the_identity_of_a_run(tmp_path: Path) -> None:
    first = identify(tmp_path)
    assert identify(tmp_path) == first
    (tmp_path / ".tracking.json").write_text("[]")
    with pytest.raises(RunError, match="expected the run's identity"):
        identify(tmp_path)


def test_trackers_on_two_threads_have_one_identity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second thread begins after the first has found no file, and before it writes one."""
    found, write = [], storage.write_json
    second = threading.Thread(target=lambda: found.append(identify(tmp_path)))

    def write_late(path: Path, value: Any) -> None:
        monkeypatch.setattr(storage, "write_json", write)
        second.start()
        second.join(0.3)  # it must wait for the first
        write(path, value)

    monkeypatch.setattr(storage, "write_json", write_late)
    first = identify(tmp_path)
    second.join()
    assert found == [first]


# TensorBoard


def test_tensorboard_reads_every_epoch(train_tiny: Train, tiny_recipe: Recipe, tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    stopped_at(30, train_tiny, *trackers.make(["tensorboard"], tmp_path / "tiny", tiny_recipe))
    folder = train_tiny(*trackers.make(["tensorboard"], tmp_path / "tiny", tiny_recipe))
    read = accumulator.EventAccumulator(str(folder / "tensorboard"))
    read.Reload()
    run = open_run(folder)
    found = read.Scalars("validation_accuracy")
    assert [event.step for event in found] == [25, 50, 75]
    assert [event.value for event in found] == pytest.approx([row.validation_accuracy for row in run.history])
    assert "optimizer.learning_rate" in str(read.Tensors("recipe/text_summary")[0].tensor_proto)
    assert not [name for name in run.files if name.startswith("tensorboard")], "events may still be written"


def test_tensorboard_gets_the_epochs_before_it_was_asked_for(
    train_tiny: Train, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    stopped_at(60, train_tiny)
    folder = train_tiny(*trackers.make(["tensorboard"], tmp_path / "tiny", tiny_recipe))
    read = accumulator.EventAccumulator(str(folder / "tensorboard"))
    read.Reload()
    assert [event.step for event in read.Scalars("validation_accuracy")] == [25, 50, 75]
    assert [event.step for event in read.Scalars("seconds")] == [75]  # figures of the machine are of this process
    assert {"images_per_second", "peak_memory_bytes", "learning_rate"} <= set(read.Tags()["scalars"])


def test_tensorboard_has_an_epoch_once_that_is_trained_again(tmp_path: Path) -> None:
    """The process was killed before it saved a state."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    for number in range(2):
        tracker = TensorBoardTracker(tmp_path, Recipe(name="x"))
        tracker.started(Recipe(name="x"), 25, [], 0)
        tracker.epoch_done(EPOCH, TIMING)
        tracker.closed()
        for path in (tmp_path / "tensorboard").glob("events.out.tfevents.1*"):  # two of one second have no order
            path.rename(path.with_name(f"events.out.tfevents.000000000{number}"))
    read = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    read.Reload()
    assert [event.step for event in read.Scalars("seconds")] == [25]


# MLflow


def test_mlflow_has_an_epoch_once_that_is_trained_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process was killed after the epoch, and before it saved a state."""
    pytest.importorskip("mlflow")
    from modiste.training.tracking.mlflow import MLflowTracker

    class Client:
        epochs: ClassVar[list[int]] = []

        def get_metric_history(self, _run: str, _name: str) -> list[Any]:
            return [type("Metric", (), {"step": step}) for step in self.epochs]

        def log_batch(self, _run: str, *, params: Sequence[Any] = (), metrics: Sequence[Any] = ()) -> None:
            self.epochs.extend({metric.step for metric in metrics})

    monkeypatch.setattr(MLflowTracker, "_find_or_create", lambda *_: "run")
    for _ in range(2):
        tracker = MLflowTracker(tmp_path, Recipe(name="x"))
        monkeypatch.setattr(tracker, "_open", lambda tracker=tracker: setattr(tracker, "_client", Client()))
        tracker.started(Recipe(name="x"), 25, [], 0)
        tracker.epoch_done(EPOCH, TIMING)
    assert Client.epochs == [1]


@pytest.fixture
def mlflow_client(sent_nowhere: Path) -> Any:
    return pytest.importorskip("mlflow").MlflowClient(f"sqlite:///{sent_nowhere}/mlflow.db")


def test_mlflow_reads_every_epoch_and_the_files(
    mlflow_client: Any, train_tiny: Train, tiny_recipe: Recipe, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A first start that MLflow heard nothing of, one that is stopped, and one that finishes: one run."""
    stopped_at(30, train_tiny)
    stopped_at(60, train_tiny, *trackers.make(["mlflow"], tmp_path / "tiny", tiny_recipe))
    experiment = mlflow_client.get_experiment_by_name("modiste").experiment_id
    assert [run.info.status for run in mlflow_client.search_runs([experiment])] == ["KILLED"]
    folder = train_tiny(*trackers.make(["mlflow"], tmp_path / "tiny", tiny_recipe))
    (found,), run = mlflow_client.search_runs([experiment]), open_run(folder)
    assert (found.info.status, found.info.run_name) == ("FINISHED", "tiny")
    assert found.data.params == {name: str(value) for name, value in parameters(run.recipe).items()}
    for name in FIGURES:
        history = mlflow_client.get_metric_history(found.info.run_id, name)
        assert [(one.step, one.value) for one in history] == [(row.epoch, getattr(row, name)) for row in run.history]
    assert found.data.metrics["selected_validation_accuracy"] == run.picked.validation_accuracy
    assert {file.path for file in mlflow_client.list_artifacts(found.info.run_id)} == SENT
    copy = mlflow_client.download_artifacts(found.info.run_id, "model.safetensors", str(tmp_path))
    assert Path(copy).read_bytes() == (folder / "model.safetensors").read_bytes()
    assert warnings(caplog) == []


def test_one_process_at_a_time_creates_a_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow")
    from modiste.training.tracking import mlflow

    class Client:
        def get_experiment_by_name(self, name: str) -> Any:
            return type("Experiment", (), {"experiment_id": f"of {name}"})

    monkeypatch.setattr(mlflow, "LOCK_SECONDS", 0.1)
    monkeypatch.setattr(mlflow.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
    tracker = mlflow.MLflowTracker(tmp_path, Recipe(name="x"))
    tracker._make_client = Client  # type: ignore[assignment]
    with storage.lock(tmp_path / f"modiste-mlflow-{os.getuid()}"), pytest.raises(FolderInUseError):
        tracker._open()
    assert tracker._open() == "of modiste"


# Weights & Biases


def records(path: Path) -> Iterator[Any]:
    """Yield the records of an offline run.

    W&B has no public reader; its files are LevelDB logs with a header of seven bytes, and hold its public messages.
    """
    from wandb.proto.wandb_internal_pb2 import Record

    content, position, whole = path.read_bytes(), 7, b""
    while position + 7 <= len(content):
        if 32768 - position % 32768 < 7:  # the rest of a block is empty
            position += 32768 - position % 32768
            continue
        _, length, kind = struct.unpack_from("<IHB", content, position)
        whole += content[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield Record.FromString(whole)
            whole = b""


@pytest.mark.slow
def test_wandb_reads_every_epoch_and_the_files(
    sent_nowhere: Path, train_tiny: Train, tiny_recipe: Recipe, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wandb = pytest.importorskip("wandb")
    stopped_at(30, train_tiny, *trackers.make(["wandb"], tmp_path / "tiny", tiny_recipe))
    folder = train_tiny(*trackers.make(["wandb"], tmp_path / "tiny", tiny_recipe))
    wandb.teardown()  # its service closes a run's file some time after the run has ended
    run, paths = open_run(folder), sorted(sent_nowhere.glob("wandb/offline-run-*/*.wandb"))
    assert len(paths) == 2
    stopped, whole = sorted((list(records(path)) for path in paths), key=len)
    identity = identify(folder)
    for part in (stopped, whole):
        (head,) = [record.run for record in part if record.HasField("run")]
        assert (head.run_id, head.display_name, head.project) == (identity, "tiny", "modiste")
        settings = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in head.config.update}
        settings.pop("_wandb", None)
        assert settings == parameters(run.recipe)
    assert epochs(stopped) == {row.epoch: row.validation_accuracy for row in run.history[:1]}
    assert epochs(whole) == {row.epoch: row.validation_accuracy for row in run.history}
    assert [record.exit.exit_code for part in (stopped, whole) for record in part if record.HasField("exit")] == [1, 0]
    (artifact,) = [one.artifact for one in whole if one.HasField("artifact")]
    assert {entry.path for entry in artifact.manifest.contents} == SENT
    assert warnings(caplog) == []
    command = [sys.executable, "-m", "wandb", "sync", "--dry-run", str(paths[0].parent)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=child_environment(), check=True)
    assert paths[0].name in done.stderr + done.stdout


def epochs(part: list[Any]) -> dict[int, float]:
    """Return validation accuracy by epoch."""
    found = {}
    for record in part:
        if record.HasField("history"):
            row = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
            found[row["epoch"]] = row["validation_accuracy"]
    return found


def test_wandb_without_a_login_writes_offline(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wandb = pytest.importorskip("wandb")
    from modiste.training.tracking.wandb import WandbTracker

    tracker = WandbTracker(tmp_path, Recipe(name="x"))
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setattr(wandb, "login", lambda prompt: False)
    assert tracker._mode() == "offline"
    assert "send it with: wandb sync" in warnings(caplog)[0]
    monkeypatch.setattr(wandb, "login", lambda prompt: True)
    assert tracker._mode() is None
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert tracker._mode() is None


def test_the_files_that_trackers_keep_are_those_of_a_run(finished_run: Path) -> None:
    assert SENT | {"report.html"} == set(FILES)
    assert {path.name for path in finished_run.iterdir()} >= SENT
