"""Searches over the small data set: chosen as planned, judged by validation, none lost."""

import ast
import json
import os
import random
import re
import shutil
import signal
import subprocess
import time
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool, ProcessPoolExecutor
from dataclasses import asdict, replace
from errno import EAGAIN
from functools import partial
from multiprocessing import get_context
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import optuna
import psutil
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from search_process import InThisProcess, alone, done, finish, start, wait_for, words_of

from commands_and_data import PROGRAMS, run_modiste, run_python, run_script, tiny_files
from fault_counter import Faults, slow_case
from fork_server import COMMAND, ForkServer
from modiste.data.dataset import Development, load_development
from modiste.errors import DataError, MissingExtraError, RecipeError, RunError, StoppedError, StorageError
from modiste.recipes.networks import CNNRecipe
from modiste.recipes.plain import to_plain
from modiste.recipes.recipe import EARLIER_DATA, DistillationRecipe, Recipe, TransferRecipe, load
from modiste.runs import manifest, run_folder, storage
from modiste.searches import outcomes
from modiste.searches.plan import PLAN, Plan
from modiste.searches.plots import parallel_coordinates
from modiste.searches.search import Driver, DriverOptions, Suggestions, check_trials, search
from modiste.searches.trial import TrialOutcome, TrialTask, ignore, run_trial
from modiste.searches.workers import Processes, TrialPool
from modiste.system.processes import Interruption
from modiste.training import trainer
from modiste.training.setup import Inputs
from modiste.training.transfer.backbones import BACKBONES

IN_THIS_PROCESS = DriverOptions(InThisProcess)
SPACE = ("optimizer.learning_rate=log(1e-4,1e-1)", "model.hidden=choice([8],[16])", "batch_size=log(16,64)")


@pytest.fixture(scope="module")
def plan(tiny_recipe: Recipe) -> Plan:
    small = replace(tiny_recipe, epochs=2, model=CNNRecipe(filters=(4,), pools=1, hidden=(16,), dropout=0.25))
    return Plan(recipe=small, space=SPACE, trials=6)


@pytest.fixture(scope="module")
def finished(plan: Plan, tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> Path:
    folder = tmp_path_factory.mktemp("search") / "six"
    alone(folder, plan, tiny_folder)
    return folder


def table(folder: Path) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = json.loads((folder / outcomes.TABLE).read_text(encoding="utf-8"))
    return rows


def invented(number: int, values: dict[str, object], state: str = "complete") -> TrialOutcome:
    """An outcome that depends on the learning rate alone, best at 0.01."""
    rate = values["optimizer.learning_rate"]
    assert isinstance(rate, float)
    accuracy = 1 / (1 + abs(rate - 0.01))
    return TrialOutcome(number, values, state, accuracy if state == "complete" else None, (accuracy,))  # type: ignore[arg-type]


def test_every_trial_is_a_run_with_the_chosen_values(plan: Plan, finished: Path) -> None:
    rows = table(finished)
    assert [row["number"] for row in rows] == list(range(6))
    for row in rows:
        run = run_folder.open_run(outcomes.run_folder_of(finished, row["number"]))  # type: ignore[arg-type]
        assert run.recipe.optimizer.learning_rate == row["values"]["optimizer.learning_rate"]  # type: ignore[index]
        assert run.picked.validation_accuracy == row["accuracy"]
        assert [epoch.validation_accuracy for epoch in run.history] == row["curve"]
        assert run.test_openings == 0


def test_the_best_is_a_recipe_that_train_takes(finished: Path, tmp_path: Path, tiny_folder: Path) -> None:
    best = max(table(finished), key=lambda row: (row["accuracy"], -row["number"]))  # type: ignore[operator]
    recipe = load(finished / outcomes.BEST)
    outcome = trainer.train(recipe, tmp_path / "best", Inputs(tiny_folder), device="cpu")
    assert outcome.picked.validation_accuracy == pytest.approx(best["accuracy"], abs=0.05)
    text = (finished / outcomes.TABLE_FOR_PEOPLE).read_text(encoding="utf-8")
    assert f"Best: trial {best['number']}" in text
    assert text.count("| complete |") == 6


def test_a_study_that_optuna_reads(finished: Path, plan: Plan) -> None:
    backend = JournalStorage(JournalFileBackend(str(finished / outcomes.STUDY)))
    study = optuna.load_study(study_name=plan.recipe.name, storage=backend)
    assert [trial.value for trial in study.trials] == [row["accuracy"] for row in table(finished)]
    assert study.trials[0].params["optimizer.learning_rate"] == table(finished)[0]["values"]["optimizer.learning_rate"]  # type: ignore[index]


@pytest.mark.slow
def test_a_finished_search_is_not_run_again_and_a_longer_one_goes_on(
    plan: Plan, finished: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    own = shutil.copytree(finished, tmp_path / "own")
    before = {path: path.stat().st_mtime_ns for path in own.rglob("*.safetensors")}
    told: list[int] = []

    def tell(new: TrialOutcome, _every: object) -> None:
        told.append(new.number)

    options = DriverOptions(workers=InThisProcess, on_outcome=tell)
    first = search(plan, own, options, device="cpu", data_folder=tiny_folder)
    assert told == []
    longer = search(replace(plan, trials=8), own, options, device="cpu", data_folder=tiny_folder)
    assert sorted(told) == [6, 7]
    assert longer[:6] == first
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_another_search_is_refused_with_the_difference(plan: Plan, finished: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="seed: 0 became 1"):
        search(replace(plan, seed=1), finished)
    with pytest.raises(RunError, match="trials: 6 became 5"):
        search(replace(plan, trials=5), finished)
    (tmp_path / "letter.txt").write_text("mine")
    with pytest.raises(RunError, match=r"not a search's folder and not empty \(letter.txt\)"):
        search(plan, tmp_path)


def test_a_search_begun_before_a_field_of_the_data_existed_goes_on_as_its_version_did(
    plan: Plan, finished: Path, tmp_path: Path
) -> None:
    own = shutil.copytree(finished, tmp_path / "s")
    stored = storage.read_json(own / PLAN)
    del stored["recipe"]["data"]["decoder"]
    storage.write_json(own / PLAN, stored)
    search(plan, own)
    assert load(own / outcomes.BEST).data.decoder == EARLIER_DATA["decoder"] != plan.recipe.data.decoder
    assert storage.read_json(own / PLAN) == stored  # the same command continues it once more
    with pytest.raises(RunError, match=r"data\.decoder: 1 became 2"):
        search(replace(plan, recipe=plan.recipe.with_(data__decoder=2)), own)


@pytest.mark.parametrize("sampler", ["tpe", "random"])
@pytest.mark.parametrize("lag", [1, 3])
def test_suggestions_follow_from_the_plan_and_the_outcomes_they_go_by_alone(plan: Plan, sampler: str, lag: int) -> None:
    long = replace(plan, trials=30, sampler=sampler, lag=lag)
    undisturbed, every = Suggestions(long), dict[int, TrialOutcome]()
    for number in range(30):
        values = undisturbed.next(every)
        every[number] = invented(number, values, "failed" if number == 4 else "complete")
    again = Suggestions(long)
    for number in range(30):
        visible = {earlier: every[earlier] for earlier in again.awaits()}
        late = {number: every[number]} if number % 5 == 0 else {}
        assert again.next({**visible, **late}) == every[number].values


def test_the_estimator_learns_where_to_look(plan: Plan) -> None:
    rates = {}
    for sampler in ("tpe", "random"):
        suggestions, every = Suggestions(replace(plan, trials=60, sampler=sampler)), dict[int, TrialOutcome]()
        for number in range(60):
            every[number] = invented(number, suggestions.next(every))
        drawn = [abs(every[number].values["optimizer.learning_rate"] - 0.01) for number in range(30, 60)]
        rates[sampler] = sorted(drawn)[15]
    assert rates["tpe"] < rates["random"] / 2


def test_a_grid_is_gone_through_in_order(plan: Plan) -> None:
    grid = replace(plan, space=("epochs=integer(1,3)", "model.dropout=choice(0,0.5)"), sampler="grid")
    suggestions, every = Suggestions(grid), dict[int, TrialOutcome]()
    for number in range(6):
        every[number] = TrialOutcome(number, suggestions.next(every), "complete", 0.5, (0.5,))
    assert [tuple(row.values.values()) for row in every.values()] == [
        (epochs, dropout) for epochs in (1, 2, 3) for dropout in (0, 0.5)
    ]
    with pytest.raises(RecipeError, match="at most the 6 points of the grid"):
        replace(grid, trials=7)


def test_what_fails_is_an_outcome(plan: Plan, tmp_path: Path, tiny_folder: Path) -> None:
    rate = {"optimizer.learning_rate": 1e30}
    wild = replace(plan.recipe, optimizer=replace(plan.recipe.optimizer, learning_rate=1e30))
    where = {"folder": tmp_path / "run", "device": "cpu", "data_folder": tiny_folder}
    found = run_trial(TrialTask(number=0, values=rate, recipe=wild, **where))
    assert found.state == "failed"
    assert "step" in found.reason
    grid = replace(plan, space=("optimizer.learning_rate=choice(0.001,1e30)",), sampler="grid", trials=1)
    outcomes.write_table(tmp_path, grid, {0: found})
    assert "failed: " in (tmp_path / outcomes.TABLE_FOR_PEOPLE).read_text(encoding="utf-8")


@pytest.mark.slow
def test_values_that_cannot_be_together_are_an_outcome(plan: Plan, tmp_path: Path, tiny_folder: Path) -> None:
    deeper = replace(plan.recipe, model=CNNRecipe(filters=(4, 4), pools=1, hidden=(16,)))
    pools = replace(
        plan,
        recipe=deeper,
        space=("model.filters=choice([4],[4,4])", "model.pools=choice(1,2)"),
        sampler="grid",
        trials=4,
    )
    rows = search(pools, tmp_path / "s", IN_THIS_PROCESS, device="cpu", data_folder=tiny_folder)
    assert [row.state for row in rows] == ["complete", "failed", "complete", "complete"]
    assert "pools: expected 0 to 1, found 2" in rows[1].reason


def test_a_hopeless_trial_stops_early_and_again_when_begun_again(
    tiny_recipe: Recipe, tmp_path: Path, tiny_folder: Path
) -> None:
    slow = replace(tiny_recipe, optimizer=replace(tiny_recipe.optimizer, learning_rate=1e-7))
    task = TrialTask(
        number=4,
        values={},
        recipe=slow,
        folder=tmp_path / "run",
        device="cpu",
        data_folder=tiny_folder,
        curves=((0.7, 0.8, 0.9),) * 4,
    )
    first, again = run_trial(task), run_trial(task)
    assert (first.state, len(first.curve)) == ("pruned", 1)
    assert first == again
    assert first.accuracy == first.curve[-1]
    few = run_trial(replace(task, curves=task.curves[:3]))
    assert (few.state, len(few.curve)) == ("complete", 3)


@pytest.mark.slow
def test_a_search_killed_again_and_again_makes_the_table_of_one_left_alone(
    plan: Plan, tmp_path: Path, tiny_folder: Path, faults: Faults, fork_server: ForkServer
) -> None:
    long = replace(plan, trials=10)
    alone(tmp_path / "alone", long, tiny_folder)
    chance, folder = random.Random(5), tmp_path / "killed-0"
    for number in faults("search: the driver killed", few=10, many=100):
        more = done(folder) + chance.choice((0, 1))
        child = fork_server.start(COMMAND, words_of(folder, long, tiny_folder))
        while not fork_server.has_ended() and done(folder) < more:
            time.sleep(0.02)
        time.sleep(chance.uniform(0, 3 if more == 0 else 0.5))  # where in a trial, or in its start
        os.kill(child, signal.SIGKILL)
        fork_server.wait()
        if done(folder) >= 9:  # too few are left to be interesting
            finish_and_compare(folder, tmp_path / "alone", long, tiny_folder)
            folder = tmp_path / f"killed-{number + 1}"
    finish_and_compare(folder, tmp_path / "alone", long, tiny_folder)


def finish_and_compare(killed: Path, alone: Path, plan: Plan, tiny_folder: Path) -> None:
    finish(killed, plan, tiny_folder)
    for name in (outcomes.TABLE, outcomes.TABLE_FOR_PEOPLE, outcomes.BEST, *outcomes.FIGURES):
        assert (killed / name).read_bytes() == (alone / name).read_bytes()


def test_asked_to_stop_it_saves_leaves_with_75_and_goes_on(plan: Plan, tmp_path: Path, tiny_folder: Path) -> None:
    long = replace(plan, trials=40)
    process = start(tmp_path / "s", long, tiny_folder)
    wait_for(lambda: done(tmp_path / "s") > 0, process)
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    assert not [one for member in family for one in member.net_connections("inet") if one.status == "LISTEN"]
    process.send_signal(signal.SIGTERM)
    _, complaint = process.communicate(timeout=60)
    assert process.returncode == 75, complaint
    assert "of 40 trials done; everything is saved" in complaint
    kept = outcomes.read(tmp_path / "s")
    assert 0 < len(kept) < 40
    assert not any(outcome.state == "failed" for outcome in kept)


@pytest.mark.slow
def test_a_worker_that_dies_is_replaced(
    plan: Plan, finished: Path, tmp_path: Path, tiny_folder: Path, faults: Faults
) -> None:
    for number in faults("search: a worker killed", few=3, many=100):
        place = tmp_path / str(number)
        place.mkdir()
        storage.write_json(place / "plan.json", to_plain(plan))
        assert drive("search_with_deaths.py", place, 1 + number % 2, tiny_folder) == [str(["complete"] * 6)]
        assert table(place / "s") == table(finished)[:6]


def test_a_worker_that_is_killed_as_it_starts_breaks_its_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise BrokenPipeError  # as starting a process does whose other end is gone

    monkeypatch.setattr(ProcessPoolExecutor, "submit", refuse)
    with Processes(1) as pool, pytest.raises(BrokenProcessPool):
        pool.submit(int)


def test_all_processes_start_at_the_first_trial_and_none_outlives_one_that_the_system_refuses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun = list[SpawnProcess]()

    def start(process: SpawnProcess) -> None:
        if len(begun) == 1:
            raise OSError(EAGAIN, "Resource temporarily unavailable")
        begun.append(process)

    monkeypatch.setattr(SpawnProcess, "start", start)
    monkeypatch.setattr(SpawnProcess, "pid", 1, raising=False)
    monkeypatch.setattr(SpawnProcess, "is_alive", lambda process: process in begun)
    monkeypatch.setattr(SpawnProcess, "kill", lambda process: begun.remove(process))
    with pytest.raises(RunError, match="a process for a trial cannot be started"), Processes(2) as pool:
        pool.submit(int)
    assert begun == []


def test_a_trial_whose_process_always_dies_as_it_starts_fails(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr(ProcessPoolExecutor, "submit", refuse)
    task = TrialTask(number=0, values={}, recipe=plan.recipe, folder=tmp_path / "run")
    ready, kept = [[task]], list[TrialOutcome]()
    pool = TrialPool(partial(Processes, 1), lambda: ready.pop() if ready else [], kept.append, Interruption())
    assert pool.work()
    assert [(one.state, one.reason) for one in kept] == [("failed", "the process that ran it died 3 times")]


def test_a_pool_submits_no_more_trials_than_it_has_workers(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    submitted, counts = dict[int, Future[TrialOutcome]](), list[int]()

    def submit(_pool: object, _function: object, task: TrialTask) -> Future[TrialOutcome]:
        submitted[task.number] = Future()
        counts.append(sum(not future.done() for future in submitted.values()))
        return submitted[task.number]

    def ready() -> list[TrialTask]:
        """Return all trials at once, as a reproduction does, and end those that run."""
        for number, future in submitted.items():
            if not future.done():
                future.set_result(TrialOutcome(number, {}, "complete", 0.5))
        return tasks.pop() if tasks else []

    monkeypatch.setattr(ProcessPoolExecutor, "submit", submit)
    tasks = [[TrialTask(number=number, values={}, recipe=plan.recipe, folder=Path("x")) for number in range(5)]]
    kept = list[TrialOutcome]()
    assert TrialPool(partial(Processes, 2), ready, kept.append, Interruption()).work()
    assert max(counts) == 2
    assert sorted(one.number for one in kept) == list(range(5))


@pytest.mark.slow
def test_a_trial_that_kills_its_worker_fails_and_no_other_with_it(
    plan: Plan, tmp_path: Path, tiny_folder: Path
) -> None:
    deadly = replace(plan, space=("epochs=integer(1,4)",), sampler="grid", trials=4)
    storage.write_json(tmp_path / "plan.json", to_plain(deadly))
    (found,) = drive("search_with_faulty_trials.py", tmp_path, "3=die", tiny_folder)
    rows = ast.literal_eval(found)
    assert [state for state, _ in rows] == ["complete", "complete", "failed", "complete"]
    assert rows[2][1] == "the process that ran it died 3 times"


@pytest.mark.slow
def test_a_trial_that_hangs_fails_or_diverges_is_a_row_and_the_search_goes_on(
    plan: Plan, tmp_path: Path, tiny_folder: Path, faults: Faults
) -> None:
    for number in faults("search: a trial that hangs, fails or diverges", few=3, many=30, each=3):
        place = tmp_path / str(number)
        place.mkdir()
        deadly = replace(plan, space=("epochs=integer(1,5)",), sampler="grid", trials=5, trial_minutes=0.2)
        storage.write_json(place / "plan.json", to_plain(deadly))
        faulty = ("2=hang", "3=fail", "4=diverge")
        (states,) = drive("search_with_faulty_trials.py", place, *faulty, tiny_folder)
        assert [row[0] for row in ast.literal_eval(states)] == ["complete", "failed", "failed", "failed", "complete"]
        assert "had not ended after 0.2 minutes" in states
        assert "MemoryError: no room" in states
        text = (place / "s" / outcomes.TABLE_FOR_PEOPLE).read_text(encoding="utf-8")
        assert "had not ended after 0.2 minutes" in text


def test_only_the_workers_of_the_pool_are_ended() -> None:
    bystander = get_context("spawn").Process(target=time.sleep, args=(300,))
    bystander.start()
    with Processes(1) as pool:
        begun = pool.submit(os.getpid)
        assert begun.result(timeout=100) != bystander.pid
        pool.interrupt()
        hanging = pool.submit(time.sleep, 300)
        pool.kill()
        assert isinstance(hanging.exception(timeout=100), BrokenProcessPool)
        pool.interrupt()
    assert bystander.is_alive()
    bystander.kill()
    bystander.join()
    bystander.close()


def run_without(names: list[str], words: list[str], folder: Path) -> "subprocess.CompletedProcess[str]":
    """Run the command where some packages cannot be imported."""
    return run_script(PROGRAMS / "without_packages.py", ",".join(names), *words, cwd=folder)


@pytest.mark.parametrize(
    ("missing", "more", "complaint"),
    [
        (["matplotlib"], [], "searching needs matplotlib: pip install 'modiste[search]'"),
        slow_case(["optuna"], [], "searching needs optuna: pip install 'modiste[search]'"),
        slow_case(["matplotlib", "optuna"], [], "searching needs matplotlib and optuna: pip install 'modiste[search]'"),
        slow_case(
            ["psycopg"], ["--storage", "postgresql://127.0.0.1:1/x"], "needs psycopg: pip install 'modiste[postgresql]'"
        ),
        slow_case(["ray"], ["--ray", "auto"], "needs Ray: pip install 'modiste[ray]'"),
    ],
)
def test_a_missing_package_is_named_before_any_work(
    missing: list[str], more: list[str], complaint: str, tmp_path: Path
) -> None:
    done = run_without(missing, ["search", "sprint", "epochs=choice(1,2)", "--out", "s", *more], tmp_path)
    assert done.returncode == MissingExtraError.exit_code, done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert complaint in done.stderr
    assert not (tmp_path / "s" / outcomes.TRIALS).exists()


@pytest.mark.slow
def test_a_search_needs_no_scipy(tmp_path: Path, plan: Plan, tiny_folder: Path) -> None:
    storage.write_json(tmp_path / "small.json", to_plain(plan.recipe))
    words = ["search", "small.json", SPACE[0], "--trials", "5", "--epochs", "1", "--prune", "median", "--quiet"]
    done = run_without(["scipy"], [*words, "--data-folder", str(tiny_folder), "--device", "cpu"], tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_too_few_files_may_be_open(tmp_path: Path) -> None:
    words = ["search", "sprint", "epochs=choice(1,2)", "--trials", "1", "--out", "s"]
    limit = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (12, 12)); from modiste.cli.main import main; "
    done = run_python("-c", f"{limit}main({words!r})", cwd=tmp_path)
    assert (done.returncode, len(done.stderr.splitlines())) == (RunError.exit_code, 1), done.stderr
    assert "a process for a trial cannot be started (Too many open files)" in done.stderr


@pytest.mark.parametrize(
    ("options", "error", "complaint"),
    [
        slow_case({"data_folder": Path("no such folder")}, DataError, "no such folder"),
        ({"device": "cuda:77"}, RecipeError, "device 'cuda:77' cannot be used here"),
    ],
)
def test_what_every_trial_would_fail_of_ends_the_search_and_is_no_outcome(
    options: dict[str, Any], error: type[Exception], complaint: str, plan: Plan, tmp_path: Path, tiny_folder: Path
) -> None:
    with pytest.raises(error, match=complaint):
        search(plan, tmp_path / "s", **{"device": "cpu", "data_folder": tiny_folder, **options})
    assert outcomes.read(tmp_path / "s") == []


@pytest.mark.parametrize(
    ("fields", "searched", "complaint"),
    [
        ({"transfer": TransferRecipe(source=64 * "0")}, SPACE, "transfer.source: expected published weights or none"),
        ({"distillation": DistillationRecipe(teachers=(64 * "0",))}, SPACE, "distillation.teachers: expected none in"),
        ({}, (f"transfer.source=choice({64 * 'a'})",), "transfer.source: expected published weights or none in a sea"),
    ],
)
def test_files_of_other_runs_that_no_flag_names_are_refused_at_the_start(
    fields: dict[str, Any], searched: tuple[str, ...], complaint: str, plan: Plan, tmp_path: Path
) -> None:
    asked = replace(plan, recipe=replace(plan.recipe, **fields), space=searched)
    with pytest.raises(RecipeError, match=complaint):
        search(asked, tmp_path / "s", device="cpu")
    assert not (tmp_path / "s").exists()


def test_published_weights_may_be_searched_with(plan: Plan) -> None:
    published = TransferRecipe(source=BACKBONES["efficientnet-lite0"].sha256)
    check_trials(replace(plan, recipe=replace(plan.recipe, transfer=published)))


def test_a_full_disk_is_no_outcome(
    plan: Plan, tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill(*_words: object, **_options: object) -> None:
        raise StorageError("no space left on device")

    monkeypatch.setattr(trainer, "train", fill)
    where = {"folder": tmp_path / "run", "device": "cpu", "data_folder": tiny_folder}
    task = TrialTask(number=0, values={}, recipe=plan.recipe, **where)
    with pytest.raises(StorageError):
        run_trial(task)


@pytest.fixture
def changed_folder(tmp_path: Path) -> Path:
    """Folder of a small data set with other images than those of ``tiny_folder``."""
    folder = tmp_path / "changed"
    folder.mkdir()
    for name, content in tiny_files(seed=8).items():
        (folder / name).write_bytes(content)
    return folder


def test_a_trial_on_other_images_than_those_of_earlier_trials_ends_the_search(
    plan: Plan, finished: Path, tmp_path: Path, tiny_folder: Path, changed_folder: Path
) -> None:
    own = shutil.copytree(finished, tmp_path / "own")
    longer = replace(plan, trials=7)
    with pytest.raises(RunError, match="tiny: holds other images than those of earlier runs; restore them"):
        search(longer, own, IN_THIS_PROCESS, device="cpu", data_folder=changed_folder)
    assert len(outcomes.read(own)) == 6
    assert run_folder.is_unbegun(outcomes.run_folder_of(own, 6))
    search(longer, own, IN_THIS_PROCESS, device="cpu", data_folder=tiny_folder)
    assert len(outcomes.read(own)) == 7, "with the images restored, the same command continues"


def test_a_trial_that_began_on_other_images_ends_the_search_and_is_no_outcome(
    plan: Plan, finished: Path, tmp_path: Path, changed_folder: Path
) -> None:
    run = shutil.copytree(outcomes.run_folder_of(finished, 0), tmp_path / "run")
    (run / manifest.NAME).unlink()  # the trial was interrupted, and its first state is from before the change
    recipe = run_folder.read_recipe(run)
    task = TrialTask(number=0, values={}, recipe=recipe, folder=run, device="cpu", data_folder=changed_folder)
    with pytest.raises(RunError, match="was trained on other data"):
        run_trial(task)


def test_a_trial_asked_to_stop_while_it_reads_its_images_takes_no_step(
    plan: Plan, tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*arguments: Any) -> Development:
        os.kill(os.getpid(), signal.SIGTERM)
        return load_development(*arguments)

    monkeypatch.setattr("modiste.training.setup.load_development", load)
    where = {"folder": tmp_path / "run", "device": "cpu", "data_folder": tiny_folder}
    task = TrialTask(number=0, values={}, recipe=plan.recipe, **where)
    with Interruption(), pytest.raises(StoppedError, match="after step 0"):
        run_trial(task)


def test_a_trial_that_ran_beside_one_on_other_images_is_not_stored(plan: Plan, tmp_path: Path) -> None:
    store = outcomes.FolderStore(tmp_path)
    driver = Driver(plan, tmp_path, store, 2, partial(TrialTask, device="cpu"), ignore)
    first = TrialOutcome(0, {}, "complete", 0.5, (0.5,), fingerprint="aa")
    driver.keep(first)
    driver.keep(replace(first, number=1, state="failed", fingerprint=""))
    with pytest.raises(RunError, match=r"trials/0002: was trained on other images than the trials before it; delete"):
        driver.keep(replace(first, number=2, fingerprint="bb"))
    assert [one.number for one in outcomes.read(tmp_path)] == [0, 1]


def test_outcomes_hold_the_fingerprint_of_their_images_and_those_of_earlier_versions_lack_it(
    plan: Plan, finished: Path, tmp_path: Path
) -> None:
    stored = outcomes.read(finished)
    run = run_folder.open_run(outcomes.run_folder_of(finished, 0))
    assert {one.fingerprint for one in stored} == {run.load_info().fingerprint}
    for one in stored:
        plain = asdict(one)
        del plain["fingerprint"]
        storage.write_hashed_json(tmp_path / outcomes.FOLDER / f"{one.number:04d}.json", plain)
    assert outcomes.read(tmp_path) == [replace(one, fingerprint="") for one in stored]


def test_a_finished_run_without_an_outcome_keeps_the_fingerprint_of_its_own_images(
    finished: Path, tmp_path: Path, changed_folder: Path
) -> None:
    run = shutil.copytree(outcomes.run_folder_of(finished, 0), tmp_path / "run")
    recipe, before = run_folder.read_recipe(run), outcomes.read(finished)[0]
    task = TrialTask(number=0, values=before.values, recipe=recipe, folder=run, data_folder=changed_folder)
    assert run_trial(replace(task, device="cpu")) == before


def test_the_reason_of_a_failure_is_one_line_and_one_cell(
    plan: Plan, tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_words: object, **_options: object) -> None:
        raise RuntimeError("mat1 and mat2:\n  3 | 4\n")

    monkeypatch.setattr(trainer, "train", fail)
    values: dict[str, Any] = {"optimizer.learning_rate": 0.5, "model.hidden": [8], "batch_size": 16}
    where = {"folder": tmp_path / "run", "device": "cpu", "data_folder": tiny_folder}
    failed = run_trial(TrialTask(number=0, values=values, recipe=plan.recipe, **where))
    assert failed.reason == "RuntimeError: mat1 and mat2: 3 | 4"
    earlier = replace(failed, number=1, reason="RuntimeError: mat1 and mat2:\n  3 | 4")
    page = outcomes.as_markdown(plan, [failed, earlier], None, {})
    rows = [line for line in page.splitlines() if line.startswith("| ")]
    assert len(rows) == 4
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {7}


def test_a_search_that_is_refused_closes_its_store(plan: Plan, tmp_path: Path) -> None:
    closed = list[bool]()

    class Store(outcomes.FolderStore):
        def close(self) -> None:
            closed.append(True)

    with pytest.raises(RecipeError, match="try --device cuda"):
        search(plan, tmp_path / "s", DriverOptions(store=Store(tmp_path / "s")), device="gpu")
    assert closed == [True]
    assert not (tmp_path / "s").exists()


def test_a_plan_that_the_store_refuses_is_not_left_in_the_folder(plan: Plan, tmp_path: Path) -> None:
    class Store(outcomes.FolderStore):
        def enter(self, _plan: Plan) -> Plan:
            raise RunError("the storage holds another search")

    with pytest.raises(RunError, match="the storage holds another search"):
        search(plan, tmp_path / "s", DriverOptions(store=Store(tmp_path / "s")), device="cpu")
    assert not (tmp_path / "s" / PLAN).exists()


def test_data_that_the_search_chose_is_an_outcome(plan: Plan, tmp_path: Path) -> None:
    task = TrialTask(
        number=0,
        values={"data.source": "elsewhere"},
        recipe=replace(plan.recipe, data=replace(plan.recipe.data, source=str(tmp_path / "elsewhere"))),
        folder=tmp_path / "run",
        device="cpu",
    )
    assert run_trial(task).state == "failed"


def drive(program: str, folder: Path, *words: object) -> list[str]:
    done = run_script(PROGRAMS / program, *words, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def numbers(told: str) -> list[str]:
    found = [line.split()[3] for line in told.splitlines()[1:3]]
    assert sorted(found) == ["0", "1"]
    return found


def test_what_mattered_is_named_and_drawn(plan: Plan, tmp_path: Path) -> None:
    fields = (*SPACE, "model.dropout=uniform(0,0.5)")
    long = replace(plan, space=fields, trials=40, sampler="random")
    suggestions, every = Suggestions(long), dict[int, TrialOutcome]()
    for number in range(40):
        every[number] = invented(number, suggestions.next(every), "failed" if number == 3 else "complete")
    outcomes.write_table(tmp_path, long, every)
    weights = outcomes.importances(long, every.values())
    assert next(iter(weights)) == "optimizer.learning_rate"
    assert sum(weights.values()) == pytest.approx(1)
    text = (tmp_path / outcomes.TABLE_FOR_PEOPLE).read_text(encoding="utf-8")
    for name in outcomes.FIGURES:
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
        assert f"]({name})" in text
    figure = parallel_coordinates(long.dimensions(), every.values())
    (axes,) = figure.axes
    lines = [line for line in axes.lines if len(line.get_xdata()) == len(fields) + 1]
    assert len(lines) == 39
    best = outcomes.best(every.values())
    assert best is not None
    thickest = max(lines, key=lambda line: line.get_linewidth())
    assert thickest.get_ydata()[-1] == 1
    assert thickest.get_ydata()[-2] == pytest.approx(best.values["model.dropout"] / 0.5)
    assert outcomes.importances(long, [every[3]]) == {}


@pytest.mark.slow
def test_the_command_tells_a_person(tmp_path: Path, plan: Plan, tiny_folder: Path) -> None:
    storage.write_json(tmp_path / "small.json", to_plain(plan.recipe))
    words = ["search", "small.json", "epochs=choice(1,2)", "--sampler", "grid", "--trials", 2, "--seed", 3]
    done = run_modiste(*words, "--workers", 1, "--data-folder", tiny_folder, "--device", "cpu", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [line.split()[:4] for line in done.stdout.splitlines()[1:3]] == [
        [count, "of", "2", trial] for count, trial in zip("12", numbers(done.stdout), strict=True)
    ]
    assert done.stdout.splitlines()[0].split() == ["done", "trial", "validation", "best", "so", "far", "epochs"]
    assert "next: modiste train runs/search-tiny/best.json" in done.stdout
    assert load(tmp_path / "runs/search-tiny/best.json").seed == 3


@pytest.mark.parametrize(
    ("words", "complaint", "code"),
    [
        ((), "expected a recipe and a space", 2),
        (("paper",), "expected a recipe and a space", 2),
        (("paper", "epoch=integer(1,2)"), "did you mean 'epochs'", 4),
        (("paper", "epochs=integer(1,2)", "--trials", "0"), "trials: expected at least 1", 4),
        (("paper", "epochs=integer(1,2)", "--workers", "0"), "workers: expected at least 1, found 0", 4),
        (("paper", "epochs=integer(1,2)", "--drivers", "0"), "drivers: expected at least 1, found 0", 4),
        (("paper", "epochs=integer(1,2)", "--study", "s"), "--study: expected with --storage, found without it", 4),
        (("paper", "epochs=integer(1,2)", "--drivers", "3"), "--drivers: expected with --storage, found without it", 4),
        (("paper", "epochs=integer(1,2)", "--trial-cpus", "2"), "--trial-cpus: expected with --ray, found without", 4),
        (("paper", "epochs=integer(1,2)", "--trial-gpus", "1"), "--trial-gpus: expected with --ray, found without", 4),
        (("paper", "epochs=integer(1,2)", "--ray", "auto", "--trial-cpus=-1"), "--trial-cpus: expected a number", 4),
        (("paper", "epochs=integer(1,2)", "--ray", "auto", "--trial-gpus=1.5"), "--trial-gpus: expected a fraction", 4),
        (("paper", "epochs=integer(1,2)", "--out", "x" * 5000), "File name too long", 5),
        (("x" * 5000, "epochs=integer(1,2)"), "recipe", 4),
        (("paper", "x" * 5000 + ".toml"), "x.toml", 4),
        (("papre", "epochs=integer(1,2)"), "did you mean 'paper'", 4),
    ],
)
def test_the_command_refuses(words: tuple[str, ...], complaint: str, code: int, tmp_path: Path) -> None:
    done = run_modiste("search", *words, cwd=tmp_path)
    assert (done.returncode, complaint in done.stderr, "Traceback" in done.stderr) == (code, True, False)
