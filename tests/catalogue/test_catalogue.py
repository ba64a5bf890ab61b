"""A catalogue of pictures: each is answered once, and the shards are the same bytes whatever dies on the way."""

import csv
import hashlib
import os
import random
import re
import signal
import threading
from concurrent.futures import Future
from functools import partial
from pathlib import Path

import psutil
import pyarrow
import pyarrow.parquet
import pytest
from small_catalogue import CLASSES, InThisProcess, network, shards, write_small_pictures

from commands_and_data import PROGRAMS, run_modiste, run_python, still_running
from fault_counter import Faults
from fork_server import COMMAND, Disk, ForkServer
from modiste.catalogue import listing
from modiste.catalogue.catalogue import answer_catalogue
from modiste.catalogue.listing import Place, hash_list, in_order, read_part, write_list
from modiste.catalogue.model import CatalogueModel
from modiste.catalogue.plan import FOLDER, PLAN, Plan
from modiste.catalogue.shards import ShardTask, answer_shard
from modiste.catalogue.workers import MOST_DEATHS, DiedError, LocalWorkers
from modiste.errors import DataError, PhotoError, RecipeError, RunError, StoppedError, StorageError
from modiste.exports.formats import with_metadata
from modiste.inference.answers import answers, find_pictures
from modiste.inference.onnx_model import OnnxModel
from modiste.photo import segmentation
from modiste.runs.manifest import ONNX_FILE

COUNT, ROWS = 90, 16
"""Read by the fixtures too."""


def rows(out: Path) -> list[dict[str, object]]:
    found: list[dict[str, object]] = pyarrow.parquet.read_table(out).to_pylist()
    return found


def words_for(model: Path, place: Path, out: Path) -> list[str]:
    """Return what stands behind ``modiste`` on the command line."""
    return list(map(str, ("predict", model, place, "--out", out, "--shard-rows", ROWS)))


def test_each_picture_is_answered_once_as_predict_answers_it(model: Path, pictures: Path, tmp_path: Path) -> None:
    done = answer_catalogue(CatalogueModel(model), pictures, tmp_path, shard_rows=ROWS, workers=InThisProcess)
    found = rows(tmp_path)
    expected = list(answers(OnnxModel.load(model), find_pictures(pictures)))
    assert [str(pictures / str(row["path"])) for row in found] == [one.source for one in expected]
    for row, one in zip(found, expected, strict=True):
        assert (row["fault"] or "") == one.fault
        if not one.fault:
            assert one.prepared is not None
            assert row["probabilities"] == [dict(one.probabilities)[name] for name in CLASSES]
            assert (row["answer"], row["nearest"]) == (one.answer, one.nearest)
            assert (row["novelty"], row["separated"]) == (one.novelty, one.prepared.separated)
    refused, none = sum(bool(one.fault) for one in expected), sum(one.is_novel for one in expected)
    assert (done.pictures, done.shards, done.none, done.refused) == (COUNT + 1, 6, none, refused)
    assert refused == COUNT / 10 + 1
    assert 0 < none < COUNT / 2


@pytest.fixture
def with_table(model: Path, tmp_path: Path) -> Path:
    """The model with thresholds of prediction sets."""
    path = tmp_path / "with-table.onnx"
    path.write_bytes(with_metadata(model.read_bytes(), {"coverage": "[[0.5, 0.4], [0.9, 0.3]]"}))
    return path


def test_prediction_sets_have_a_column(
    with_table: Path, pictures: Path, calm: dict[str, bytes], tmp_path: Path
) -> None:
    out, few = tmp_path / "answers", tmp_path / "few"
    answer_catalogue(CatalogueModel(with_table, coverage=0.9), pictures, out, shard_rows=ROWS, workers=InThisProcess)
    answer_catalogue(CatalogueModel(with_table, coverage=0.5), pictures, few, shard_rows=ROWS, workers=InThisProcess)
    found = rows(out)
    for row in found:
        if row["fault"]:
            assert row["possible"] is None
        elif row["answer"] == "none":
            assert row["possible"] == []
        else:
            shares = dict(zip(CLASSES, row["probabilities"], strict=True))
            expected = [name for name in CLASSES if shares[name] >= 0.3 or name == row["nearest"]]
            assert row["possible"] == sorted(expected, key=lambda name: -shares[name])
    sizes = [sum(len(row["possible"] or ()) for row in rows(folder)) for folder in (few, out)]
    assert sizes[0] < sizes[1]
    answer_catalogue(CatalogueModel(with_table), pictures, tmp_path / "none", shard_rows=ROWS, workers=InThisProcess)
    assert "possible" not in rows(tmp_path / "none")[0]


def test_another_coverage_needs_another_folder(with_table: Path, pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "answers"
    answer_catalogue(CatalogueModel(with_table, coverage=0.9), pictures, out, shard_rows=ROWS, workers=InThisProcess)
    for other, said in ((0.5, "0.5"), (None, "none")):
        with pytest.raises(RunError, match=rf"answers for another --coverage: expected 0\.9, found {said}"):
            answer_catalogue(
                CatalogueModel(with_table, coverage=other), pictures, out, shard_rows=ROWS, workers=InThisProcess
            )


def test_a_model_without_thresholds_is_refused_at_once(model: Path, pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="holds no thresholds of prediction sets"):
        answer_catalogue(
            CatalogueModel(model, coverage=0.9), pictures, tmp_path / "answers", shard_rows=ROWS, workers=InThisProcess
        )
    assert not shards(tmp_path / "answers")


def test_a_plan_without_coverage_is_that_of_earlier_versions() -> None:
    plan = Plan(model="a", onnx="b", pictures="c", count=3, shard_rows=2, preparation=1)
    fields = '{"count": 3, "model": "a", "onnx": "b", "pictures": "c", "preparation": 1, "shard_rows": 2}'
    assert plan.digest == hashlib.sha256(fields.encode()).hexdigest()


@pytest.fixture
def for_garments(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model of garments that the built-in network finds, on a machine without another."""
    monkeypatch.setattr(segmentation, "find_u2net", lambda: None)
    monkeypatch.delenv(segmentation.VARIABLE, raising=False)
    path = tmp_path / "for-garments.onnx"
    path.write_bytes(with_metadata(model.read_bytes(), {"pictures": "garment", "background": "auto"}))
    return path


def test_answers_of_two_segmentation_networks_are_not_mixed(
    for_garments: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, out = tmp_path / "pictures", tmp_path / "answers"
    write_small_pictures(place, 4)
    answer_catalogue(CatalogueModel(for_garments), place, out, shard_rows=2, workers=InThisProcess)
    whole = shards(out)
    (out / "answers-000001.parquet").unlink()
    monkeypatch.setattr(segmentation, "find_u2net", lambda: tmp_path / "u2netp.onnx")
    expected = "another segmentation network (MODISTE_SEGMENTATION names it): expected built-in, found U2-Net; give"
    with pytest.raises(RunError, match=re.escape(expected)):
        answer_catalogue(CatalogueModel(for_garments), place, out, shard_rows=2, workers=InThisProcess)
    monkeypatch.setenv(segmentation.VARIABLE, "built-in")
    answer_catalogue(CatalogueModel(for_garments), place, out, shard_rows=2, workers=InThisProcess)
    assert shards(out) == whole


def test_a_node_with_another_segmentation_network_says_so(for_garments: Path, tmp_path: Path) -> None:
    task = ShardTask(0, str(tmp_path), (b"a.png",), "plan", "onnx", stays_inside=True, network="U2-Net")
    with pytest.raises(RunError, match=r"another segmentation network: expected U2-Net, .* found built-in; install"):
        answer_shard(task, for_garments)


@pytest.mark.parametrize("kind", ["of images that are not square", "no model"])
def test_a_folder_of_answers_is_not_claimed_by_a_file_that_cannot_answer(
    kind: str, model: Path, pictures: Path, calm: dict[str, bytes], tmp_path: Path
) -> None:
    wrong, out = tmp_path / "wrong.onnx", tmp_path / "answers"
    wrong.write_bytes(network(height=4) if kind != "no model" else b"no model")
    complaint = "this network takes 1 x 4 x 8" if kind != "no model" else r"wrong\.onnx: .*it is not an ONNX file"
    with pytest.raises((RunError, RecipeError), match=complaint):
        answer_catalogue(CatalogueModel(wrong), pictures, out, shard_rows=ROWS, workers=InThisProcess)
    answer_catalogue(CatalogueModel(model), pictures, out, shard_rows=ROWS, workers=InThisProcess)
    assert shards(out) == calm


def test_the_command_answers_on_all_cores_with_the_same_bytes(
    model: Path, pictures: Path, calm: dict[str, bytes], tmp_path: Path
) -> None:
    done = run_modiste("predict", model, pictures, "--out", tmp_path / "answers", "--shard-rows", ROWS)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{COUNT + 1} pictures in 6 shards" in done.stdout
    assert shards(tmp_path / "answers") == calm


@pytest.mark.slow
def test_its_processes_work_where_posix_is_missing(
    model: Path, pictures: Path, calm: dict[str, bytes], tmp_path: Path
) -> None:
    words = ("predict", model, pictures, "--out", tmp_path / "answers", "--shard-rows", ROWS)
    done = run_python(PROGRAMS / "without_posix.py", *words)
    assert (done.returncode, done.stderr) == (0, "")
    assert shards(tmp_path / "answers") == calm


@pytest.fixture(scope="module")
def operations(
    fork_server: ForkServer, model: Path, pictures: Path, tmp_path_factory: pytest.TempPathFactory
) -> list[str]:
    """The operations on the files of answers by a command that nothing disturbs."""
    out = tmp_path_factory.mktemp("operations") / "answers"
    ended = fork_server.run(COMMAND, words_for(model, pictures, out), disk=Disk(out))
    assert ended.code == 0, ended.said
    return fork_server.operations()


def workers_until_the_end(driver: int, fork_server: ForkServer) -> list[psutil.Process]:
    """Return the processes that a command has started, once it has ended."""
    family = psutil.Process(driver)
    found = set[psutil.Process]()
    while not fork_server.has_ended(seconds=0.01):
        found.update(family.children(recursive=True))
    return list(found)


def test_killed_at_any_moment_it_goes_on_and_no_picture_is_missing_or_there_twice(
    fork_server: ForkServer,
    operations: list[str],
    model: Path,
    pictures: Path,
    calm: dict[str, bytes],
    tmp_path: Path,
    faults: Faults,
) -> None:
    """Every second moment comes when shards have been written already."""
    draw, first = random.Random(1), next(at for at, line in enumerate(operations) if is_new_shard(line))
    for number in faults("catalogue: SIGKILL at a random moment", few=10, many=60):
        out = tmp_path / str(number)
        at = draw.randint(1 if number % 2 else first + 2, len(operations))
        driver = fork_server.start(COMMAND, words_for(model, pictures, out), disk=Disk(out, at, "die before"))
        workers = workers_until_the_end(driver, fork_server)
        assert fork_server.wait().code == -signal.SIGKILL
        assert still_running(workers, seconds=30) == []
        assert set(shards(out).items()) <= set(calm.items())
        assert shards(out) or number % 2
        again = run_modiste(*words_for(model, pictures, out))
        assert again.returncode == 0, again.stderr
        assert shards(out) == calm
        assert not list(out.rglob("*.part"))


def is_new_shard(operation: str) -> bool:
    """Tell whether an operation gives a shard its name."""
    return re.match(r"rename .*/answers-\d+\.parquet$", operation) is not None


def test_a_worker_that_is_killed_costs_only_its_shard(
    fork_server: ForkServer,
    operations: list[str],
    model: Path,
    pictures: Path,
    calm: dict[str, bytes],
    tmp_path: Path,
    faults: Faults,
) -> None:
    """The command is stopped as it writes one of the first shards, when its workers have others at work."""
    moments = [at for at, line in enumerate(operations, start=1) if is_new_shard(line)][:3]
    for number in faults("catalogue: a worker killed", few=10, many=60):
        out = tmp_path / str(number)
        disk = Disk(out, moments[number % 3], "stop")
        driver = psutil.Process(fork_server.start(COMMAND, words_for(model, pictures, out), disk=disk))
        while driver.status() != psutil.STATUS_STOPPED:
            assert not fork_server.has_ended(seconds=0.01)
        worker = next(child for child in driver.children() if "spawn_main" in " ".join(child.cmdline()))
        worker.kill()
        driver.resume()
        ended = fork_server.wait()
        assert (ended.code, len(ended.said.splitlines())) == (0, 1), ended.said
        assert shards(out) == calm


def test_a_worker_that_is_killed_as_it_starts_counts_as_one_that_died(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise BrokenPipeError  # as starting a process does whose other end is gone

    with LocalWorkers(model, 1) as workers:
        monkeypatch.setattr(workers._pool, "submit", refuse)
        died = workers.submit(ShardTask(0, "x", (), "", "", stays_inside=True))
        with pytest.raises(DiedError):
            workers.result(died)


def test_closed_workers_leave_no_thread(model: Path) -> None:
    before = set(threading.enumerate())
    workers = LocalWorkers(model, 2)
    for number in range(2):
        workers.submit(ShardTask(number, "x", (), "", "", stays_inside=True))
    workers.close()
    assert set(threading.enumerate()) <= before


def test_asked_to_stop_it_keeps_what_is_done_and_goes_on(
    model: Path, pictures: Path, calm: dict[str, bytes], tmp_path: Path
) -> None:
    def ask(task: ShardTask) -> None:
        if task.number == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(StoppedError, match=r"stopped on request with 48 of 91 pictures answered"):
        answer_catalogue(
            CatalogueModel(model), pictures, tmp_path, shard_rows=ROWS, workers=partial(InThisProcess, before=ask)
        )
    assert shards(tmp_path) == dict(list(calm.items())[:3])
    again = list[int]()
    noted = partial(InThisProcess, before=lambda task: again.append(task.number))
    answer_catalogue(CatalogueModel(model), pictures, tmp_path, shard_rows=ROWS, workers=noted)
    assert again == [3, 4, 5]
    assert shards(tmp_path) == calm
    answer_catalogue(CatalogueModel(model), pictures, tmp_path, shard_rows=ROWS, workers=noted)
    assert again == [3, 4, 5]


def test_a_shard_that_kills_its_workers_is_named(model: Path, pictures: Path, tmp_path: Path) -> None:
    tried = list[int]()

    def die(task: ShardTask) -> None:
        tried.append(task.number)
        if task.number == 1:
            raise DiedError

    with pytest.raises(RunError, match=r"workers died 3 times over shard 1, 16 pictures from .*\.png on"):
        answer_catalogue(
            CatalogueModel(model), pictures, tmp_path, shard_rows=ROWS, workers=partial(InThisProcess, before=die)
        )
    assert tried == [0] + MOST_DEATHS * [1]


class Pool(InThisProcess):
    """Three workers, all of which die with one of them, as those of a pool of processes do.

    Args:
        model: Path of the ONNX file.
        deadly: Number of the shard whose worker dies.
        deaths: How often it dies.
        given: The shards that are at work whenever one more is handed out, the newest last.
    """

    slots = 3

    def __init__(self, model: Path, _shards: int, *, deadly: int, deaths: int, given: list[list[int]]) -> None:
        super().__init__(model, _shards)
        self._deadly, self._deaths, self._given = deadly, deaths, given
        self._at_work = dict[Future[bytes], ShardTask]()

    def submit(self, task: ShardTask) -> "Future[bytes]":
        future: Future[bytes] = Future()
        future.set_result(b"")
        self._at_work[future] = task
        self._given.append([one.number for one in self._at_work.values()])
        return future

    def result(self, future: "Future[bytes]") -> bytes:
        if self._deaths and any(task.number == self._deadly for task in self._at_work.values()):
            self._deaths -= 1
            raise DiedError
        return answer_shard(self._at_work.pop(future), self._model)

    def restart(self) -> None:
        self._at_work.clear()


def test_the_shard_that_kills_its_worker_is_named_and_not_those_beside_it(
    model: Path, pictures: Path, tmp_path: Path
) -> None:
    given = list[list[int]]()
    pool = partial(Pool, deadly=2, deaths=9, given=given)
    with pytest.raises(RunError, match=r"workers died 3 times over shard 2, 16 pictures from .*\.png on"):
        answer_catalogue(CatalogueModel(model), pictures, tmp_path, shard_rows=ROWS, workers=pool)
    assert given == [[0], [0, 1], [0, 1, 2], [0], [1], *MOST_DEATHS * [[2]]]
    assert list(shards(tmp_path)) == ["answers-000000.parquet", "answers-000001.parquet"]


def test_after_the_shards_that_were_at_work_at_a_death_others_go_on_together(
    model: Path, pictures: Path, calm: dict[str, bytes], tmp_path: Path
) -> None:
    given = list[list[int]]()
    pool = partial(Pool, deadly=2, deaths=MOST_DEATHS, given=given)
    answer_catalogue(CatalogueModel(model), pictures, tmp_path, shard_rows=ROWS, workers=pool)
    assert given == [[0], [0, 1], [0, 1, 2], [0], [1], *MOST_DEATHS * [[2]], [3], [3, 4], [3, 4, 5]]
    assert shards(tmp_path) == calm


@pytest.mark.parametrize(
    "change", ["missing", "empty", "cut", "of another plan", "of another number", "with rows missing"]
)
def test_a_shard_that_is_not_whole_is_answered_again(
    change: str, model: Path, pictures: Path, calm: dict[str, bytes], tmp_path: Path
) -> None:
    answer_catalogue(CatalogueModel(model), pictures, tmp_path, shard_rows=ROWS, workers=InThisProcess)
    path = tmp_path / "answers-000001.parquet"
    content, table = path.read_bytes(), pyarrow.parquet.read_table(path)
    path.unlink()
    if change == "empty":
        path.touch()
    elif change == "cut":
        path.write_bytes(content[:-9])
    elif change == "of another plan":
        pyarrow.parquet.write_table(table.replace_schema_metadata({"modiste.plan": "other"}), path)
    elif change == "of another number":
        path.write_bytes(calm["answers-000002.parquet"])
    elif change == "with rows missing":
        pyarrow.parquet.write_table(table.slice(1), path)
    answer_catalogue(CatalogueModel(model), pictures, tmp_path, shard_rows=ROWS, workers=InThisProcess)
    assert shards(tmp_path) == calm


def test_another_model_list_or_division_is_refused(model: Path, tmp_path: Path) -> None:
    place, out, other = tmp_path / "pictures", tmp_path / "answers", tmp_path / "other.onnx"
    write_small_pictures(place, 20)
    other.write_bytes(network(seed=1))
    answer = partial(answer_catalogue, shard_rows=ROWS, workers=InThisProcess)
    answer(CatalogueModel(model), place, out)
    before = shards(out)
    with pytest.raises(RunError, match=r"another model: expected SHA-256 \w+\.\.\., found SHA-256 \w+\.\.\.; give"):
        answer(CatalogueModel(other), place, out)
    with pytest.raises(RunError, match=r"another --shard-rows: expected 16, found 8"):
        answer_catalogue(CatalogueModel(model), place, out, shard_rows=8, workers=InThisProcess)
    (place / "even" / "0000.png").rename(place / "even" / "0001.png")
    with pytest.raises(RunError, match="another list of pictures"):
        answer(CatalogueModel(model), place, out)
    (place / "even" / "0001.png").unlink()
    with pytest.raises(RunError, match=r"another number of pictures: expected 21, found 20"):
        answer(CatalogueModel(model), place, out)
    assert shards(out) == before


@pytest.mark.parametrize("name", [PLAN, ONNX_FILE, "pictures-000000"])
def test_what_fixes_the_work_is_refused_when_it_is_damaged(
    name: str, model: Path, pictures: Path, tmp_path: Path
) -> None:
    answer = partial(
        answer_catalogue, CatalogueModel(model), pictures, tmp_path, shard_rows=ROWS, workers=InThisProcess
    )
    answer()
    (tmp_path / "answers-000000.parquet").unlink()
    path = tmp_path / FOLDER / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(RunError, match="damaged"):
        answer()


def test_other_files_are_not_touched(model: Path, pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("mine")
    with pytest.raises(RunError, match=r"not empty and without a plan \(letter\.txt\)"):
        answer_catalogue(CatalogueModel(model), pictures, tmp_path, workers=InThisProcess)
    assert [path.name for path in tmp_path.iterdir() if path.name != ".lock"] == ["letter.txt"]


@pytest.mark.parametrize("name", [".film.part", "_plan/letter.txt", "_plan/.film.part"])
def test_hidden_files_and_a_plan_of_another_program_are_not_touched(
    name: str, model: Path, pictures: Path, tmp_path: Path
) -> None:
    mine = tmp_path / name
    mine.parent.mkdir(exist_ok=True)
    mine.write_text("mine")
    with pytest.raises(RunError, match=rf"not empty and without a plan \({re.escape(name)}\)"):
        answer_catalogue(CatalogueModel(model), pictures, tmp_path, workers=InThisProcess)
    assert mine.read_text(encoding="utf-8") == "mine"


def test_what_a_killed_command_left_before_its_plan_was_whole_is_replaced(
    model: Path, pictures: Path, calm: dict[str, bytes], tmp_path: Path
) -> None:
    folder = tmp_path / FOLDER
    folder.mkdir()
    for name in (ONNX_FILE, "pictures-000000", f".pictures-000001-{8 * '0f'}.part"):
        (folder / name).write_bytes(b"half")
    answer_catalogue(CatalogueModel(model), pictures, tmp_path, shard_rows=ROWS, workers=InThisProcess)
    assert shards(tmp_path) == calm
    assert not list(tmp_path.rglob(".*.part"))


def test_a_list_is_answered_in_its_order_with_absolute_paths_and_repetitions(
    model: Path, pictures: Path, tmp_path: Path
) -> None:
    names = ["odd/0001.png", str(pictures / "even" / "0002.png"), "odd/0001.png", "nowhere.png", "letter.txt", "odd/"]
    for ending in ("csv", "parquet"):
        table = pictures / f"list.{ending}"
        if ending == "csv":
            with table.open("w", newline="", encoding="utf-8") as file:
                csv.writer(file).writerows([("price", "path"), *((9, name) for name in names)])
        else:
            pyarrow.parquet.write_table(pyarrow.table({"path": names, "price": [9] * len(names)}), table)
        out = tmp_path / ending
        answer_catalogue(CatalogueModel(model), table, out, workers=InThisProcess)
        found = rows(out)
        assert [row["path"] for row in found] == names
        assert found[0] == found[2]
        assert [bool(row["fault"]) for row in found] == [False, False, False, True, True, True]
        assert (found[3]["fault"], found[5]["fault"]) == ("no such file", "a folder")
        table.unlink()
    assert shards(tmp_path / "csv").keys() == shards(tmp_path / "parquet").keys()


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"file,label\na,b\n", "line 1: wrong: expected one column named path, found file, label"),
        (b"path,path\na,b\n", "line 1: wrong: expected one column named path"),
        (b"", "line 1: wrong: expected one column named path, found nothing"),
        (b"path,b\na.png,1\n,2\n", "line 3: wrong: expected a path, found nothing"),
        (b'path\n"a.png\n', "expected a CSV file"),
        (b"path\n", "no pictures"),
    ],
)
def test_a_csv_list_that_is_none_is_refused(content: bytes, complaint: str, model: Path, tmp_path: Path) -> None:
    table = tmp_path / "list.csv"
    table.write_bytes(content)
    with pytest.raises(DataError, match=complaint):
        answer_catalogue(CatalogueModel(model), table, tmp_path / "answers", workers=InThisProcess)


def test_without_pictures_nothing_is_left_where_the_answers_would_be(model: Path, tmp_path: Path) -> None:
    empty, table = tmp_path / "empty", tmp_path / "list.csv"
    empty.mkdir()
    table.write_bytes(b"path\n")
    for place in (empty, table):
        with pytest.raises(PhotoError, match="no pictures"):
            answer_catalogue(CatalogueModel(model), place, tmp_path / "answers", workers=InThisProcess)
    assert not (tmp_path / "answers").exists()


def test_a_parquet_list_that_is_none_is_refused(model: Path, tmp_path: Path) -> None:
    table = tmp_path / "list.parquet"
    for content, complaint in (
        (pyarrow.table({"file": ["a"]}), "expected one column path of strings, found file"),
        (pyarrow.table({"path": [1]}), "expected one column path of strings"),
        (pyarrow.table({"path": ["a", None]}), "a row without a path"),
    ):
        pyarrow.parquet.write_table(content, table)
        with pytest.raises(DataError, match=complaint):
            answer_catalogue(CatalogueModel(model), table, tmp_path / "answers", workers=InThisProcess)
    parts = [pyarrow.py_buffer(bytes((0, 0, 0, 0, 2, 0, 0, 0))), pyarrow.py_buffer(b"\xff\xfe")]
    pyarrow.parquet.write_table(pyarrow.table({"path": pyarrow.StringArray.from_buffers(1, *parts)}), table)
    with pytest.raises(DataError, match="unreadable: expected a parquet file, found 'utf-8' codec can't decode"):
        answer_catalogue(CatalogueModel(model), table, tmp_path / "answers", workers=InThisProcess)
    table.write_bytes(b"PAR1 nothing")
    with pytest.raises(DataError, match="unreadable: expected a parquet file"):
        answer_catalogue(CatalogueModel(model), table, tmp_path / "answers", workers=InThisProcess)


def test_a_folder_of_any_size_is_sorted_in_bounded_parts(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"{number % 7}/{number}-{letter}.png".encode() for number in range(50) for letter in "ab/c"]
    random.Random(0).shuffle(names)
    expected = sorted(names, key=lambda name: name.split(b"/"))
    for size in (1, 16, 200, 1000):
        monkeypatch.setattr(listing, "SORTED_AT_ONCE", size)
        assert list(in_order(names, tmp_path)) == expected
        found = [os.fsencode(pictures / os.fsdecode(name)) for name in Place.at(pictures).names(tmp_path)]
        assert found == [os.fsencode(name) for name, _ in find_pictures(pictures)]
    assert list(tmp_path.iterdir()) == []


def test_names_that_cannot_be_sorted_on_the_disk_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "SORTED_AT_ONCE", 2)
    with pytest.raises(StorageError, match=r"none: cannot be written \(No such file or directory\); expected room"):
        list(in_order([b"a", b"b", b"c"], tmp_path / "none"))


def test_a_list_is_kept_as_it_was_in_parts_of_equal_size(tmp_path: Path) -> None:
    names = [b"a\nb.png", b"\xff.png", "\u8863.png".encode(), b"d.png", b"d.png"]
    assert write_list(names, tmp_path, 2) == hash_list(names)
    assert [name for number in range(3) for name in read_part(tmp_path, number)] == names
    assert write_list(names[:-1], tmp_path, 2) != hash_list(names)


def test_links_and_closed_folders_are_refused_as_predict_refuses_them(model: Path, tmp_path: Path) -> None:
    place = tmp_path / "pictures"
    write_small_pictures(place, 4)
    (place / "out.png").symlink_to(model)
    (place / "nothing.png").symlink_to(place / "none")
    os.mkfifo(place / "pipe.png")
    (place / os.fsdecode(b"bad\xff.png")).write_bytes((place / "even" / "0000.png").read_bytes())
    answer_catalogue(CatalogueModel(model), place, tmp_path / "answers", workers=InThisProcess)
    found = {row["path"]: row["fault"] for row in rows(tmp_path / "answers")}
    expected = {
        os.path.relpath(one.source, place): one.fault for one in answers(OnnxModel.load(model), find_pictures(place))
    }
    assert found.pop("bad\\xff.png") is None
    assert expected.pop("bad\udcff.png") == ""
    assert found == {name: fault or None for name, fault in expected.items()}
    assert found["out.png"] == "a link that leads out of the folder"


@pytest.mark.parametrize(
    ("words", "complaint", "code"),
    [
        (("PICTURES", "--json"), "--json does not go with --out", 2),
        (("PICTURES", "PICTURES"), "--out: expected one folder", 2),
        (("PICTURES", "--shard-rows", "0"), "--shard-rows: expected at least 1, found 0", 4),
        (("nowhere",), "nowhere: no such file or folder", 3),
        (("ONNX_FILE",), "expected a folder of pictures, or a list of paths", 3),
        (("EMPTY",), "no pictures", 3),
    ],
)
def test_the_command_refuses_in_one_line(
    words: tuple[str, ...], complaint: str, code: int, model: Path, pictures: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    named = {"PICTURES": pictures, "ONNX_FILE": model, "EMPTY": tmp_path / "empty"}
    done = run_modiste("predict", model, *(named.get(word, word) for word in words), "--out", tmp_path / "answers")
    assert (done.returncode, done.stdout) == (code, "")
    assert complaint in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_what_is_not_installed_is_named(model: Path, pictures: Path, tmp_path: Path) -> None:
    words = ["predict", str(model), str(pictures), "--out", str(tmp_path / "answers")]
    script = f"import sys; sys.modules['pyarrow'] = None; from modiste.cli.main import main; main({words})"
    done = run_python("-c", script)
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr == "modiste: answers in parquet: needs pyarrow: pip install 'modiste[parquet]'\n"


def test_a_catalogue_is_answered_without_torch(model: Path, pictures: Path, tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from modiste.catalogue.catalogue import answer_catalogue\n"
        f"from small_catalogue import InThisProcess\n"
        "from modiste.catalogue.model import CatalogueModel\n"
        f"model = CatalogueModel(Path({str(model)!r}))\n"
        f"answer_catalogue(model, {str(pictures)!r}, {str(tmp_path)!r}, workers=InThisProcess)\n"
        "print('torch' in sys.modules)"
    )
    done = run_python("-c", script, PYTHONPATH=f"{Path(__file__).parent}{os.pathsep}{os.environ['PYTHONPATH']}")
    assert (done.stdout, done.stderr) == ("False\n", "")
