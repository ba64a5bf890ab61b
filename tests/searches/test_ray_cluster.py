"""Searches on a real Ray cluster of several nodes: the same table, whatever dies."""

import io
import json
import os
import re
import shutil
import signal
import subprocess
import tarfile
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import psutil
import pytest
import search_process
from search_process import done, finish, start, table, wait_for

import code_of_others
from commands_and_data import PROGRAMS, child_environment, run_python, still_running
from fault_counter import Faults
from modiste import compat
from modiste.catalogue import ray_workers
from modiste.errors import ClusterError, RunError, StoppedError, StorageError
from modiste.recipes.networks import CNNRecipe
from modiste.recipes.plain import to_plain
from modiste.recipes.recipe import Recipe
from modiste.runs import run_folder, storage
from modiste.searches import outcomes, ray_cluster, ray_connection
from modiste.searches.plan import Plan
from modiste.searches.trial import TrialOutcome
from modiste.training.tracking.tracked_run import identify
from ray_nodes import nodes

SPACE = ("optimizer.learning_rate=log(1e-4,1e-1)", "batch_size=log(16,64)")


@pytest.fixture(scope="module")
def plan(tiny_recipe: Recipe) -> Plan:
    small = replace(tiny_recipe, epochs=2, model=CNNRecipe(filters=(4,), pools=1, hidden=(16,), dropout=0.25))
    return Plan(recipe=small, space=SPACE, trials=6)


@pytest.fixture(scope="module")
def alone(plan: Plan, tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> bytes:
    """The table of the same search in this process."""
    return search_process.alone(tmp_path_factory.mktemp("alone") / "s", plan, tiny_folder)


@pytest.mark.slow
def test_a_node_that_is_killed_costs_only_what_it_ran(
    plan: Plan, alone: bytes, tmp_path: Path, tiny_folder: Path, faults: Faults
) -> None:
    for number in faults("search: a node killed (Ray)", few=1, many=10):
        kill_a_node(plan, alone, tmp_path / str(number), tiny_folder)


def kill_a_node(plan: Plan, alone: bytes, tmp_path: Path, tiny_folder: Path) -> None:
    tmp_path.mkdir()
    with nodes(2, environment=child_environment()) as (address, keeper):
        process = start(tmp_path / "s", plan, tiny_folder, "--ray", address)
        wait_for(lambda: done(tmp_path / "s") > 0, process)
        assert keeper.stdin
        assert keeper.stdout
        keeper.stdin.write("kill one\n")
        keeper.stdin.flush()
        assert keeper.stdout.readline() == "killed\n"
        said, complaint = process.communicate(timeout=200)
    assert process.returncode == 0, complaint
    assert "best: trial" in said
    assert table(tmp_path / "s") == alone
    starts = [len(facts(tmp_path / "s", number)["starts"]) for number in range(plan.trials)]
    assert sum(starts) - plan.trials <= 1
    assert not list((tmp_path / "s").glob(".seen-*"))


@pytest.mark.slow
def test_begun_for_this_command_it_stays_on_loopback_saves_when_asked_to_stop_and_goes_on(
    plan: Plan, alone: bytes, tmp_path: Path, tiny_folder: Path
) -> None:
    process = start(tmp_path / "s", plan, tiny_folder, "--ray", "auto", "--trial-cpus", "0.5")
    wait_for(lambda: done(tmp_path / "s") > 0, process)
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    listening = listening_addresses(family)
    assert listening
    assert listening <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
    process.send_signal(signal.SIGTERM)
    _, complaint = process.communicate(timeout=100)
    assert process.returncode == 75, complaint
    assert "of 6 trials done; everything is saved" in complaint
    assert still_running(family, seconds=30) == []
    again = start(tmp_path / "s", plan, tiny_folder, "--ray", "auto", "--trial-cpus", "0.5")
    assert again.communicate(timeout=200)[1] == ""
    assert table(tmp_path / "s") == alone


@pytest.mark.slow
def test_nodes_import_a_network_of_the_users_own(tiny_recipe: Recipe, tiny_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "user_code.py").write_text(Path(code_of_others.__file__).read_text(encoding="utf-8"), encoding="utf-8")
    storage.write_json(tmp_path / "tiny.json", to_plain(tiny_recipe))
    words = ["search", "tiny.json", "epochs=choice(1,2)", "--sampler", "grid", "--trials", 1, "--workers", 1]
    cluster = ["--ray", "auto", "--trial-cpus", "0.5", "--network", "user_code:Net"]
    where = ["--data-folder", tiny_folder, "--device", "cpu"]
    finished = run_python("-m", "modiste", *words, *cluster, *where, cwd=tmp_path, timeout=250)
    assert finished.returncode == 0, finished.stderr
    run = run_folder.open_run(tmp_path / "runs/search-tiny-net/trials/0000")
    assert run.recipe.own_code == {"network": "user_code:Net"}


@pytest.fixture(scope="module")
def have_to_end() -> Iterator[list[psutil.Process]]:
    """Processes that end by themselves: Ray's agents ask a lost head for a minute, and other tests need not wait."""
    processes: list[psutil.Process] = []
    yield processes
    assert still_running(processes, seconds=100) == []


def kill_part(part: str, family: list[psutil.Process]) -> None:
    for member in family:
        with suppress(psutil.NoSuchProcess):
            if member.name() == part:
                member.kill()


@pytest.mark.slow
def test_a_lost_cluster_ends_the_search_and_the_same_command_goes_on(
    plan: Plan, alone: bytes, tmp_path: Path, tiny_folder: Path
) -> None:
    """The search's parent is process 1, as after ``nohup``: Ray would take it for a worker of the lost raylet."""
    words = (tmp_path / "s", plan, tiny_folder, "--ray", "auto", "--trial-cpus", "0.5")
    process = start(*words, through=("sh", "-c", '"$@" & echo $!', "sh"))
    assert process.stdout
    search = psutil.Process(int(process.stdout.readline()))
    process.wait(10)
    wait_for(lambda: done(tmp_path / "s") > 0)
    family = search.children(recursive=True)
    kill_part("raylet", family)
    _, complaint = process.communicate(timeout=200)
    assert complaint.startswith("modiste: the Ray cluster cannot be used any longer (LocalRayletDiedError")
    assert not [one for one in outcomes.read(tmp_path / "s") if one.state == "failed"]
    assert still_running([search, *family], seconds=60) == []
    assert start(*words).communicate(timeout=200)[1] == ""
    assert table(tmp_path / "s") == alone


@pytest.mark.slow
def test_a_lost_head_ends_the_search(
    plan: Plan, tmp_path: Path, tiny_folder: Path, have_to_end: list[psutil.Process]
) -> None:
    long = replace(plan, trials=1000, sampler="random")  # some go on without a head, and end before it counts as lost
    words = ("--ray", "auto", "--trial-cpus", "0.5", "--sampler", "random")
    process = start(tmp_path / "s", long, tiny_folder, *words, program=(PROGRAMS / "leave_lost_head_soon.py",))
    wait_for(lambda: done(tmp_path / "s") > 0, process)
    family = psutil.Process(process.pid).children(recursive=True)
    kill_part("gcs_server", family)
    _, complaint = process.communicate(timeout=200)
    assert process.returncode == ClusterError.exit_code, complaint
    assert complaint.startswith("modiste: the Ray cluster cannot be used any longer (its head at 127.0.0.1:")
    assert not [one for one in outcomes.read(tmp_path / "s") if one.state == "failed"]
    have_to_end += family


def settle(error: Exception, task: ray_cluster.TrialTask, *, seconds: float = 0.0) -> TrialOutcome:
    """Return the outcome of a trial of which Ray reports an error, so many seconds after it was submitted."""
    import ray.exceptions

    workers, inner = object.__new__(ray_cluster.RayWorkers), Future[ray_cluster.NodeResult]()
    given = time.monotonic() - seconds
    workers._ray, done = ray, Future[TrialOutcome]()
    workers._running = {done: "reference"}
    inner.set_exception(error)
    workers._settle(inner, task, given, done)
    return done.result()


def test_only_the_death_of_its_own_worker_counts_against_a_trial(plan: Plan, tmp_path: Path) -> None:
    from ray import exceptions

    task = ray_cluster.TrialTask(number=0, values={}, recipe=plan.recipe, folder=tmp_path / "run")
    own = (exceptions.WorkerCrashedError(), exceptions.OutOfMemoryError("memory"))
    assert [settle(error, task).state for error in own] == ["failed", "failed"]
    others = (
        exceptions.LocalRayletDiedError(),
        exceptions.NodeDiedError("node"),
        exceptions.RaySystemError(OSError("raylet")),
        exceptions.ObjectLostError("00", "", "call"),
        exceptions.OwnerDiedError("00", "", "call"),
        exceptions.RuntimeEnvSetupError("environment"),
        exceptions.TaskUnschedulableError("nowhere"),
        exceptions.RayTaskError("run_on_node", "traceback", ModuleNotFoundError("No module named 'modiste'")),
    )
    for error in others:
        with pytest.raises(ClusterError, match="the same command goes on"):
            settle(error, task)
    with pytest.raises(StoppedError):
        settle(exceptions.TaskCancelledError(), task)
    with pytest.raises(StorageError, match="full"):
        settle(exceptions.RayTaskError("run_on_node", "traceback", StorageError("full")), task)


def test_a_trial_without_memory_is_not_one_that_takes_too_long(plan: Plan, tmp_path: Path) -> None:
    from ray import exceptions

    task = ray_cluster.TrialTask(number=0, values={}, recipe=plan.recipe, folder=tmp_path / "run", minutes=10.0)
    short = settle(exceptions.OutOfMemoryError("memory"), task, seconds=3600.0)  # it waited for room most of that hour
    late = settle(exceptions.WorkerCrashedError(), task, seconds=3600.0)
    assert short.reason == "its worker died 3 times (OutOfMemoryError)"
    assert late.reason == "had not ended after 10 minutes"


@pytest.mark.slow
def test_a_driver_that_is_killed_goes_on(
    plan: Plan, alone: bytes, tmp_path: Path, tiny_folder: Path, faults: Faults
) -> None:
    with nodes(2, environment=child_environment()) as (address, _):
        for _time in faults("search: the driver killed (Ray)", few=2, many=2):
            before = done(tmp_path / "s")
            process = start(tmp_path / "s", plan, tiny_folder, "--ray", address)
            wait_for(lambda before=before: done(tmp_path / "s") > before, process)
            process.kill()
            process.communicate()
        finish(tmp_path / "s", plan, tiny_folder, "--ray", address)
    assert table(tmp_path / "s") == alone


@pytest.mark.slow
def test_a_trial_that_hangs_or_fails_on_a_node_is_a_row_and_the_search_goes_on(
    plan: Plan, tmp_path: Path, tiny_folder: Path, faults: Faults
) -> None:
    hanging = PROGRAMS / "hanging_trials"
    environment = child_environment(PYTHONPATH=f"{hanging}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    deadly = replace(plan, space=("epochs=integer(1,4)",), trials=4)
    limits = ("--sampler", "grid", "--trial-minutes", 0.1)
    for _time in faults("search: a trial that hangs or fails (Ray)", few=2, many=2, each=2):
        with nodes(1, environment=environment) as (address, _):
            finish(tmp_path / "s", deadly, tiny_folder, "--ray", address, *limits)
        rows = json.loads(table(tmp_path / "s"))
        assert [row["state"] for row in rows] == ["complete", "failed", "failed", "complete"]
        assert rows[1]["reason"] == "had not ended after 0.1 minutes"
        assert rows[2]["reason"] == "MemoryError: no room"


HIDDEN = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs none "$0" && exec "$@"')
"""Start a command that finds nothing in a folder, and whose writing there nobody else sees."""


def may_hide() -> bool:
    """Tell whether this user may, on this system."""
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*HIDDEN, "/mnt", "true"], capture_output=True, check=False).returncode == 0


@pytest.mark.slow
@pytest.mark.skipif(not may_hide(), reason="needs a mount namespace of its own")
def test_from_nodes_that_do_not_see_the_folder_the_runs_come_home(
    plan: Plan, alone: bytes, tmp_path: Path, tiny_folder: Path
) -> None:
    (tmp_path / "hidden").mkdir()
    folder = tmp_path / "hidden" / "s"
    with nodes(2, *HIDDEN, str(tmp_path / "hidden"), environment=child_environment()) as (address, _):
        process = start(folder, plan, tiny_folder, "--ray", address)
        wait_for(lambda: done(folder) > 0, process)
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=100)[1].count("everything is saved") == 1
        assert process.returncode == 75
        finish(folder, plan, tiny_folder, "--ray", address)
    assert table(folder) == alone
    for number in range(plan.trials):
        run_folder.open_run(outcomes.run_folder_of(folder, number))


def test_what_cannot_be_shared_is_sent_home(plan: Plan, tmp_path: Path, tiny_folder: Path) -> None:
    task = ray_cluster.TrialTask(
        number=0,
        values={},
        recipe=plan.recipe,
        folder=tmp_path / "home",
        device="cpu",
        data_folder=tiny_folder,
    )
    shared = ray_cluster.run_on_node(replace(task, folder=tmp_path / "shared"), Path(__file__), None, 1)
    assert shared.folder is None
    sent = ray_cluster.run_on_node(task, tmp_path / "a mark that this node does not see", None, 1)
    assert not task.folder.exists()
    assert sent.outcome == shared.outcome
    assert sent.folder is not None
    ray_cluster.unpack(sent.folder, task.folder)
    assert run_folder.open_run(task.folder).history == run_folder.open_run(tmp_path / "shared").history
    again = ray_cluster.run_on_node(
        task, tmp_path / "a mark that this node does not see", ray_cluster.pack(task.folder), 1
    )
    assert again.outcome == shared.outcome


def test_a_run_on_a_node_keeps_its_name_and_its_identity_for_trackers(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = list[tuple[str, str]]()
    monkeypatch.setattr(ray_cluster, "_run", lambda task: found.append((task.folder.name, identify(task.folder))))
    task = ray_cluster.TrialTask(number=7, values={}, recipe=plan.recipe, folder=tmp_path / "0007")
    identity = identify(task.folder)
    (task.folder / storage.LOCK_NAME).touch()
    sent = ray_cluster.run_on_node(
        task, tmp_path / "a mark that this node does not see", ray_cluster.pack(task.folder), 1
    )
    assert found == [("0007", identity)]
    assert sent.folder is not None
    ray_cluster.unpack(sent.folder, tmp_path / "home")
    assert identify(tmp_path / "home") == identity
    assert not (tmp_path / "home" / storage.LOCK_NAME).exists()


@pytest.mark.parametrize(
    ("name", "kind", "link"),
    [
        ("../outside", tarfile.REGTYPE, ""),
        ("/outside", tarfile.REGTYPE, ""),
        ("link", tarfile.SYMTYPE, "/etc/passwd"),
        ("inside", tarfile.LNKTYPE, "../../etc/passwd"),
    ],
)
def test_an_archive_writes_nowhere_else(
    name: str, kind: bytes, link: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the filters of ``tarfile`` too, which Python 3.11.2 lacks."""
    monkeypatch.delattr(tarfile, "data_filter")
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("log.jsonl"))
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, link
        tar.addfile(member)
    with pytest.raises(RunError, match=f"not the archive of a run .*{re.escape(name)}: expected a file in the folder"):
        ray_cluster.unpack(archive.getvalue(), tmp_path / "run")
    assert list(tmp_path.iterdir()) == []
    assert not Path("/outside").exists()


@pytest.mark.slow
def test_no_cluster_and_one_too_small_are_said(plan: Plan, tmp_path: Path, tiny_folder: Path) -> None:
    process = start(tmp_path / "a", plan, tiny_folder, "--ray", "127.0.0.1:1")
    _, complaint = process.communicate(timeout=60)
    assert (process.returncode, "no Ray cluster answers" in complaint) == (ClusterError.exit_code, True)
    process = start(tmp_path / "b", plan, tiny_folder, "--ray", "auto", "--trial-gpus", "64")
    _, complaint = process.communicate(timeout=60)
    assert (process.returncode, "64 GPUs for a trial" in complaint) == (ClusterError.exit_code, True)
    assert "Traceback" not in complaint


def test_ray_is_not_handed_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray
    from ray._private import utils

    before, handed = utils.get_entrypoint_name, []
    monkeypatch.setattr(ray, "init", lambda *_words, **_options: handed.append(utils.get_entrypoint_name()))
    ray_connection._init(ray, "local")
    assert handed == ["modiste"]
    assert utils.get_entrypoint_name is before


@pytest.fixture
def faulty_ray(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Ray on a machine that is part of no cluster; it cannot start one."""
    import ray

    def fail(*_words: object, **_options: object) -> NoReturn:
        raise Exception("The node timed out\nduring startup")  # noqa: TRY002 - as Ray does

    monkeypatch.setattr(ray, "init", fail)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setitem(vars(compat), "read_ray_address", lambda: None)
    for name in ("keep_ray_on_loopback", "keep_process_without_raylet"):
        monkeypatch.setattr(f"modiste.compat.{name}", lambda: None)
    return ray


@pytest.mark.usefixtures("faulty_ray")
def test_a_cluster_that_cannot_be_started_is_said_in_one_line() -> None:
    with pytest.raises(ClusterError) as caught:
        ray_connection.connect("auto")
    assert str(caught.value).startswith(
        "--ray auto: no Ray cluster can be started here (Exception: The node timed out)"
    )
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("address", ["auto", "127.0.0.1:6379"])
def test_a_program_that_uses_ray_itself_is_told_what_to_do(
    address: str, faulty_ray: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(faulty_ray, "is_initialized", lambda: True)
    with pytest.raises(
        ClusterError, match=rf"--ray {address}: this program has connected .*call ray\.shutdown\(\) before"
    ):
        ray_connection.connect(address)


class Cluster:
    """What workers ask of a cluster that they have joined, with a node of eight cores."""

    def __init__(self) -> None:
        self.connections = 1

    def nodes(self) -> list[dict[str, Any]]:
        return [{"Alive": True, "Resources": {"CPU": 8.0}}]

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 8.0}

    def put(self, _content: bytes) -> None:
        """Keep nothing."""

    def shutdown(self) -> None:
        self.connections -= 1


@pytest.mark.parametrize(("gpus", "error"), [(64.0, ClusterError), (0.0, StorageError)])
def test_workers_that_cannot_be_made_leave_the_cluster_they_have_joined(
    gpus: float, error: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = Cluster()
    monkeypatch.setattr(ray_cluster, "connect", lambda _address: cluster)
    (tmp_path / "file").touch()  # no folder: nothing can be written below it
    with pytest.raises(error):
        ray_cluster.RayWorkers("auto", tmp_path / "file/s", ray_cluster.Share(1.0, gpus))
    assert cluster.connections == 0


def test_workers_of_a_catalogue_that_cannot_be_made_leave_the_cluster_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = Cluster()
    monkeypatch.setattr(ray_workers, "connect", lambda _address: cluster)
    with pytest.raises(FileNotFoundError):
        ray_workers.RayShardWorkers("auto", tmp_path / "missing.onnx", 1)
    assert cluster.connections == 0


@pytest.mark.parametrize(
    ("address", "host", "loopback"), [("[::1]:6379", "::1", True), ("[fd00::7]:6379", "fd00::7", False)]
)
def test_an_address_may_be_one_of_ipv6(
    address: str, host: str, loopback: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Connection(nullcontext[None]):
        def __enter__(self) -> Any:
            return self

        def getpeername(self) -> tuple[str, int, int, int]:
            return host, 6379, 0, 0

    asked, joined, kept = list[object](), list[object](), list[bool]()

    def connect(where: object, **_options: object) -> Connection:
        asked.append(where)
        return Connection()

    monkeypatch.setattr("socket.create_connection", connect)
    monkeypatch.setattr(ray_connection, "_init", lambda _ray, where: joined.append(where))
    monkeypatch.setattr("modiste.compat.keep_ray_on_loopback", lambda: kept.append(True))
    ray_connection._join(None, address)
    assert asked == [(host, 6379)]
    assert joined == [address]
    assert kept == [True] * loopback


def facts(folder: Path, number: int) -> dict[str, list[object]]:
    plain: dict[str, list[object]] = json.loads(
        (outcomes.run_folder_of(folder, number) / run_folder.FACTS).read_text(encoding="utf-8")
    )
    return plain


def listening_addresses(family: list[psutil.Process]) -> set[str]:
    """Addresses on which any of the processes listens; one may end while we look, as Ray's helpers do."""
    addresses = set()
    for member in family:
        with suppress(psutil.NoSuchProcess):
            connections = member.net_connections("inet")
            addresses |= {one.laddr.ip for one in connections if one.status == psutil.CONN_LISTEN}
    return addresses
