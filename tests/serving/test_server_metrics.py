"""What the server counts and logs of its answers: classes, confidence, novelty and faults, never a picture."""

import ast
import base64
import json
import re
import threading
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
import tritonclient.http
from prometheus_client.parser import text_string_to_metric_families
from server_process import Server, listening

import modiste
from commands_and_data import run_modiste
from modiste.errors import StorageError
from modiste.inference.onnx_model import OnnxModel
from modiste.monitoring.answer_log import AnswerLog, day_files, identity, read_log
from modiste.serving.metrics import OTHER, AnswerMetrics, Metrics, reason_for

SMALL_FILES = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1500, 1500)); "
DOCS = Path(__file__).parents[2] / "docs"
PICTURES = Path(modiste.__file__).parent / "photo"


@pytest.fixture(scope="module")
def model(model_file: Path) -> OnnxModel:
    return OnnxModel.load(model_file)


def counted(server: Server) -> dict[tuple[str, str], float]:
    """Every sample of the metrics by its name and the value of its last label."""
    with server.client() as client:
        families = text_string_to_metric_families(client.get("/metrics").text)
    return {(one.name, [*one.labels.values(), ""][0]): one.value for family in families for one in family.samples}


def ask(server: Server, contents: list[bytes]) -> list[dict[str, object]]:
    with server.client() as client:
        images = [base64.b64encode(one).decode() for one in contents]
        answers: list[dict[str, object]] = client.post("/v1/predict", json={"images": images}).json()["answers"]
    return answers


def test_metrics_count_what_was_answered(server: Server, photos: list[bytes]) -> None:
    before = counted(server)
    answers = ask(server, [*photos, b"Dear Sir", b""])
    after = counted(server)
    more = {key: after[key] - before[key] for key in after if key[0].startswith("modiste_") and key in before}
    given = [one for one in answers if not one.get("fault")]
    for name in modiste.load_dataset().class_names:
        assert more["modiste_answers_total", name] == sum(one["label"] == name for one in given)
    assert more["modiste_none_of_the_classes_total", ""] == sum(bool(one["none_of_the_classes"]) for one in given)
    assert more["modiste_confidence_count", ""] == more["modiste_novelty_count", ""] == len(given)
    sure = [one for one in given if max(one["probabilities"].values()) <= 0.9]
    assert more["modiste_confidence_bucket", "0.9"] == len(sure)
    assert more["modiste_novelty_bucket", "1.0"] == sum(not one["none_of_the_classes"] for one in given)
    assert more["modiste_picture_faults_total", "not an image"] == 1
    assert more["modiste_picture_faults_total", "empty"] == 1


def test_bins_are_those_of_prometheus() -> None:
    """Beside the client library's own histogram, with a value at an end and one above all."""
    from prometheus_client import CollectorRegistry, Histogram, generate_latest

    from modiste.serving import metrics

    values, registry = [0.05, 0.25, 1.0, 1.5, 99.0], CollectorRegistry()
    theirs = Histogram("modiste_novelty", "Novelty score of each answer.", buckets=metrics.NOVELTIES, registry=registry)
    ours = AnswerMetrics(["a", "b"])
    for value in values:
        theirs.observe(value)
    ours.add(np.full((5, 2), 0.5), np.array(values))
    found = {one.name: one for one in ours.collect()}["modiste_novelty"]
    assert [(one.name, one.labels, one.value) for one in found.samples] == [
        (one.name, one.labels, one.value)
        for family in text_string_to_metric_families(generate_latest(registry).decode())
        for one in family.samples
        if not one.name.endswith("_created")
    ]


def test_dashboard_and_guide_name_metrics_that_exist() -> None:
    """Each panel of the dashboard asks for metrics, labels and ends of bins that a server has."""
    metrics, name = Metrics(["a", "b"]), re.compile(r"modiste_[a-z_]+")
    metrics.logged.labels("written")
    text = metrics.text().decode()
    series = set(name.findall(text)) | {f"modiste_requests_{end}" for end in ("total", "bucket")}
    series |= {f"modiste_request_seconds_{end}" for end in ("bucket", "sum", "count")}
    panels = json.loads((DOCS / "grafana.json").read_text(encoding="utf-8"))["panels"]
    queries = [target["expr"] for panel in panels for target in panel["targets"]]
    assert len(queries) >= 8
    for query in queries:
        assert set(name.findall(query)) <= series, query
        assert query.count("(") == query.count(")")
    assert all(f'le="{end}"' in text for query in queries for end in re.findall(r'le="([0-9.]+)"', query))
    guide = (DOCS / "serving.md").read_text(encoding="utf-8")
    section = guide.partition("## Watching a deployed model")[2].partition("\n## ")[0]
    assert set(re.findall(r"`(modiste_[a-z_]+)", section)) <= series | {"modiste_request_seconds"}


def test_every_fault_of_a_picture_has_a_reason() -> None:
    """A new message needs a reason in the table of metrics, or it would be counted as another fault."""
    messages = []
    for path in PICTURES.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "PhotoError":
                messages.append(re.sub(r"\{[^}]*\}", "1", ast.unparse(node.args[0])))
    assert len(messages) > 50
    assert [one for one in messages if reason_for(one) == OTHER and "MISSING" not in one] == []
    from modiste.photo.heif import MISSING

    assert reason_for(MISSING) == "unsupported"


def test_the_log_holds_each_answer_and_no_picture(model_file: Path, photos: list[bytes], tmp_path: Path) -> None:
    images = modiste.load_dataset().validation.images[:70].numpy()
    with listening(model_file, "--log", tmp_path / "log") as server:
        answers = ask(server, [*photos, b"Dear Sir"])
        with tritonclient.http.InferenceServerClient(f"{server.host}:{server.port}") as client:
            tensor = tritonclient.http.InferInput("images", list(images.shape), "UINT8")
            tensor.set_data_from_numpy(images)
            outputs = client.infer("sprint", [tensor])
        server.process.terminate()
        server.process.wait(20)
    lines = [
        json.loads(line)
        for path in day_files(tmp_path / "log")
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    assert len(lines) == len(photos) + len(images)
    assert {tuple(line) for line in lines} == {("time", "model", "probabilities", "novelty")}
    names = modiste.load_dataset().class_names
    for line, answer in zip(lines, answers[:-1], strict=False):
        assert line["probabilities"] == pytest.approx([answer["probabilities"][name] for name in names], abs=1e-6)
        assert line["novelty"] == pytest.approx(answer["novelty"], rel=1e-5)
    found = read_log(tmp_path / "log", OnnxModel.load(model_file))
    assert found.classes[-70:].tolist() == outputs.as_numpy("probabilities").argmax(1).tolist()
    assert (found.others, found.damaged) == (0, 0)


@pytest.mark.slow
def test_a_disk_that_refuses_stops_the_log_and_no_answer(model_file: Path, photos: list[bytes], tmp_path: Path) -> None:
    start = ("-c", f"{SMALL_FILES} from modiste.cli.main import main; main()")
    with listening(model_file, "--log", tmp_path, start=start) as server:
        for _ in range(3):
            assert all(not one.get("fault") for one in ask(server, photos))
        count = counted(server)
        server.process.terminate()
        _, errors = server.process.communicate(timeout=20)
    assert errors.count("answers are given, but not logged") == 1
    assert count["modiste_logged_answers_total", "dropped"] > 0
    found = read_log(tmp_path, OnnxModel.load(model_file))
    assert len(found.classes) > 0
    assert found.damaged <= 1


def test_a_folder_that_cannot_be_written_is_refused_at_the_start(model_file: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run_modiste("serve", model_file, "--log", tmp_path / "file")
    assert done.returncode == 5
    assert "the log of answers cannot be written" in done.stderr
    assert done.stderr.count("\n") == 1


class TestLog:
    def some(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        shares = np.random.default_rng(number).dirichlet(np.ones(10), number)
        return shares, np.linspace(0, 2, number)

    def test_a_torn_line_and_other_models_are_left_out(self, model: OnnxModel, tmp_path: Path) -> None:
        log = AnswerLog(tmp_path, model)
        log.add(*self.some(5))
        log.close()
        [path] = day_files(tmp_path)
        lines = path.read_bytes().splitlines(keepends=True)
        other = json.dumps({**json.loads(lines[0]), "model": "0" * 16}).encode()
        wrong = [
            json.dumps({**json.loads(lines[0]), "probabilities": value}).encode()
            for value in ([1.0], [0.5] * 10, [float("nan")] * 10, ["a"] * 10, [-1.0, 2.0] + [0.0] * 8, None)
        ]
        damaged = [*wrong, b"[1]", b"\xff", b"[" * 100_000]
        path.write_bytes(b"".join(lines) + b"\n".join([other, *damaged]) + b"\n" + lines[0][:40])
        log = AnswerLog(tmp_path, model)
        log.add(*self.some(2))
        log.close()
        found = read_log(tmp_path, model)
        assert (len(found.classes), found.others, found.damaged) == (7, 1, len(damaged) + 1)
        assert found.confidence[:5] == pytest.approx(self.some(5)[0].max(1), abs=1e-6)

    def test_a_day_is_bounded_and_old_days_go(self, model: OnnxModel, tmp_path: Path) -> None:
        for day in ("2020-01-01", "2020-01-02", "2020-01-03"):
            (tmp_path / f"{day}.jsonl").write_text("")
        (tmp_path / "notes.txt").write_text("stays")
        counts: dict[str, int] = {}
        log = AnswerLog(
            tmp_path,
            model,
            count=lambda outcome, number: counts.update({outcome: counts.get(outcome, 0) + number}),
            most_day_bytes=2000,
            most_days=2,
        )
        for _ in range(3):
            log.add(*self.some(10))
        log.close()
        names = [path.name for path in day_files(tmp_path)]
        assert len(names) == 2
        assert names[0] == "2020-01-03.jsonl"
        assert (tmp_path / "notes.txt").exists()
        assert 1500 < (tmp_path / names[1]).stat().st_size <= 2000
        found = read_log(tmp_path, model)
        assert counts == {"written": len(found.classes), "dropped": 30 - len(found.classes)}

    def test_an_old_day_that_cannot_be_deleted_stops_no_answer(
        self, model: OnnxModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        days = [tmp_path / f"2020-01-0{number}.jsonl" for number in (1, 2, 3)]
        for day in days:
            day.write_text("")
        unlink = Path.unlink

        def refuse_the_first(path: Path, *, missing_ok: bool = False) -> None:
            if path == days[0]:
                raise PermissionError("kept by another user")
            unlink(path, missing_ok=missing_ok)

        monkeypatch.setattr(Path, "unlink", refuse_the_first)
        log = AnswerLog(tmp_path, model, most_days=1)
        log.add(*self.some(5))
        log.close()
        assert len(read_log(tmp_path, model).classes) == 5
        assert [day.exists() for day in days] == [True, False, False]

    def test_a_slow_disk_delays_nobody(self, model: OnnxModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        log, disk = AnswerLog(tmp_path, model), threading.Event()
        append = AnswerLog._append
        monkeypatch.setattr(
            AnswerLog, "_append", lambda self, day, lines: append(self, day, lines) if disk.wait() else 0
        )
        monkeypatch.setattr("modiste.monitoring.answer_log.MOST_WAITING", 100)
        counted = list[tuple[str, int]]()
        log.count = lambda outcome, number: counted.append((outcome, number))
        for _ in range(30):
            log.add(*self.some(10))  # returns although the disk takes nothing
        assert counted == [("dropped", 10)] * 20
        disk.set()
        log.close()
        assert sum(number for outcome, number in counted if outcome == "written") == 100

    def test_no_error_ends_the_log(self, model: OnnxModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whatever fails is said once, and counted; later answers are logged."""
        said, counted, failed = list[str](), list[tuple[str, int]](), threading.Event()

        def warn(line: str) -> None:
            said.append(line)
            raise BrokenPipeError  # nobody reads it

        def count(outcome: str, number: int) -> None:
            counted.append((outcome, number))
            if outcome == "dropped":
                failed.set()

        def fail(_log: AnswerLog, _some: object) -> NoReturn:
            raise ValueError("no\nlines")

        log = AnswerLog(tmp_path, model, warn=warn, count=count)
        with monkeypatch.context() as faulty:
            faulty.setattr(AnswerLog, "_lines", fail)
            log.add(*self.some(5))
            assert failed.wait(20)
        log.add(*self.some(5))
        log.close()
        assert counted == [("written", 0), ("dropped", 5), ("written", 5), ("dropped", 0)]
        assert len(said) == 1
        assert "answers are given, but not logged (no\\nlines)" in said[0]

    def test_the_same_run_exported_again_is_the_same_model(self, model: OnnxModel) -> None:
        again = OnnxModel(None, model.metadata | {"modiste": "9"}, model.shape, model.names, model.outputs)
        other = OnnxModel(None, model.metadata | {"temperature": "1.5"}, model.shape, model.names, model.outputs)
        assert identity(again) == identity(model) != identity(other)

    def test_ensembles_of_the_same_recipes_are_other_models(self, model: OnnxModel) -> None:
        found = {
            identity(OnnxModel(None, model.metadata | {"weights": weights}, model.shape, model.names, model.outputs))
            for weights in ("[0.5, 0.5]", "[0.4, 0.6]")
        }
        assert len({identity(model), *found}) == 3

    def test_no_log_is_said(self, model: OnnxModel, tmp_path: Path) -> None:
        from modiste.errors import DataError

        with pytest.raises(DataError, match="no log here"):
            read_log(tmp_path / "nowhere", model)
        with pytest.raises(DataError, match="no answers of this model"):
            read_log(tmp_path, model)
        with pytest.raises(StorageError):
            AnswerLog(Path("/proc/nowhere"), model)
