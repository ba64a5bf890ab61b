"""Answers over the network are those given without it, whoever asks, however many ask at once."""

import asyncio
import base64
import io
import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pillow_heif
import pytest
import tritonclient.http
from PIL import Image
from server_process import Server, listening
from tritonclient.utils import InferenceServerException

import drawings
import modiste
from commands_and_data import PROGRAMS, run_modiste, run_python
from fault_counter import slow_case
from modiste.inference.answers import NOT_FINITE, FileAnswer, answers
from modiste.inference.onnx_model import OnnxModel
from modiste.serving.api_page import api_page
from modiste.serving.batching import Batcher
from modiste.serving.serve import export

CLIENTS = 64
ODD_ALARMS = ("", "inf", "-1", "2", "9" * 5_000)
"""What a file may say of its share of false alarms, besides "nan" and "many"."""


@pytest.fixture(scope="module")
def offline(model_file: Path, photos: list[bytes]) -> list[FileAnswer]:
    return list(answers(OnnxModel.load(model_file), [(str(n), photo) for n, photo in enumerate(photos)]))


def assert_same(found: dict[str, object], expected: FileAnswer) -> None:
    assert found["label"] == expected.probabilities[0][0]
    for name, value in expected.probabilities:
        assert found["probabilities"][name] == pytest.approx(value, abs=1e-5)
    assert found["novelty"] == pytest.approx(expected.novelty, rel=1e-3)
    assert found["none_of_the_classes"] == expected.is_novel
    assert (found["separated"], found["inverted"]) == (expected.prepared.separated, expected.prepared.inverted)


def test_photos_in_a_form_and_in_json(server: Server, photos: list[bytes], offline: list[FileAnswer]) -> None:
    with server.client() as client:
        form = client.post("/v1/predict", files=[("images", (f"{n}.png", one)) for n, one in enumerate(photos)])
        plain = client.post("/v1/predict", json={"images": [base64.b64encode(one).decode() for one in photos]})
    for response in (form, plain):
        assert response.status_code == 200
        for found, expected in zip(response.json()["answers"], offline, strict=True):
            assert_same(found, expected)
    assert [one["name"] for one in form.json()["answers"]] == [f"{n}.png" for n in range(len(photos))]


@pytest.mark.slow
def test_many_clients_at_once_get_the_answers_that_each_gets_alone(
    server: Server, photos: list[bytes], offline: list[FileAnswer]
) -> None:
    together = threading.Barrier(CLIENTS)

    def ask(number: int) -> list[dict[str, object]]:
        together.wait()
        with server.client() as client:
            turns = [(number + turn) % len(photos) for turn in range(3)]
            return [client.post("/v1/predict", files={"images": photos[turn]}).json()["answers"][0] for turn in turns]

    before = metrics_of(server)
    with ThreadPoolExecutor(CLIENTS) as pool:
        for number, found in enumerate(pool.map(ask, range(CLIENTS))):
            for turn, one in enumerate(found):
                assert_same(one, offline[(number + turn) % len(photos)])
    counted = metrics_of(server)
    more = {name: counted[name] - before.get(name, 0) for name in counted}
    assert more['modiste_requests_total{route="/v1/predict",status="200"}'] > 0
    assert more["modiste_batch_images_sum"] > more["modiste_batch_images_count"]  # some went together


def test_a_batch_that_fails_before_the_network_ends_no_other(model_file: Path) -> None:
    sizes = list[int]()

    def observe(size: int) -> None:
        sizes.append(size)
        if len(sizes) == 1:
            raise MemoryError("no memory for this batch")

    async def ask() -> int:
        model = OnnxModel.load(model_file)
        batcher = Batcher(model, most=2, observe=observe)
        images = np.zeros((1, *model.shape), np.uint8)
        with pytest.raises(MemoryError, match="for this batch"):
            await asyncio.wait_for(batcher.run(images), 30)
        outputs = await asyncio.wait_for(batcher.run(images), 30)
        batcher.close()
        return len(outputs["probabilities"])

    assert asyncio.run(ask()) == 1


def metrics_of(server: Server) -> dict[str, float]:
    with server.client() as client:
        lines = [line.rpartition(" ") for line in client.get("/metrics").text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in lines}


def test_a_photo_has_one_answer_in_every_format(server: Server, photos: list[bytes]) -> None:
    with Image.open(io.BytesIO(photos[0])) as opened:
        photo = opened.convert("RGB")
    files = [io.BytesIO() for _ in range(4)]
    for file, kind in zip(files[:3], ("PNG", "TIFF", "AVIF"), strict=True):
        photo.save(file, kind, quality=95)
    pillow_heif.from_pillow(photo).save(files[3], quality=95)
    with server.client() as client:
        asked = [("images", (str(number), file.getvalue())) for number, file in enumerate(files)]
        found = client.post("/v1/predict", files=asked).json()["answers"]
    assert len({one["label"] for one in found}) == 1


def test_a_picture_that_cannot_be_read_spoils_no_other(server: Server, photos: list[bytes]) -> None:
    with server.client() as client:
        files = [
            ("images", ("letter.txt", b"Dear Sir")),
            ("images", ("boot.png", photos[0])),
            ("images", ("empty", b"")),
        ]
        found = client.post("/v1/predict", files=files).json()["answers"]
        assert ["fault" in one and bool(one["fault"]) for one in found] == [True, False, True]
        assert "not a readable image" in found[0]["fault"]
        damaged = client.post("/v1/predict", json={"images": ["no base64!"]}).json()["answers"]
    assert damaged[0]["fault"].startswith("expected base64")


def test_base64_as_programs_write_it(server: Server, photos: list[bytes], offline: list[FileAnswer]) -> None:
    plain, lines = base64.b64encode(photos[0]).decode(), base64.encodebytes(photos[0]).decode()
    right = [plain, lines, lines.replace("\n", "\r\n"), f"  {plain}\n", f"data:image/png;base64,{plain}"]
    right += [f"data:;base64,{lines}", f"DATA:image/png;name=a;BASE64,{plain}"]
    wrong = [f"data:image/png,{plain}", f"data:{plain}", f"http://shop.example/;base64,{plain}", plain + "!", "\u00fc"]
    with server.client() as client:
        found = client.post("/v1/predict", json={"images": [*right, *wrong]}).json()["answers"]
    for one in found[: len(right)]:
        assert_same(one, offline[0])
    assert {one["fault"] for one in found[len(right) :]} == {
        "expected base64, with or without data:image/...;base64, before it"
    }


def test_steps_and_where_it_looked(server: Server, photos: list[bytes]) -> None:
    with server.client() as client:
        asked = "/v1/predict?steps=true&explain=true"
        (found,) = client.post(asked, files={"images": photos[0]}).json()["answers"]
        many = client.post(asked, files=[("images", photos[0])] * 6).json()["answers"]
    assert [step["name"] for step in found["steps"]] == ["photo", "garment alone", "cropped", "network's view"]
    for step in found["steps"]:
        assert base64.b64decode(step["picture"].removeprefix("data:image/png;base64,")).startswith(b"\x89PNG")
    evidence = np.array(found["evidence"])
    assert evidence.shape == (28, 28)
    assert evidence.max() > 0
    assert [bool(one["evidence"]) for one in many] == [True] * 4 + [False] * 2


def test_drawings_have_a_limit_of_their_own(server: Server, model_file: Path, photos: list[bytes]) -> None:
    limit = OnnxModel.load(model_file).drawing_limit
    assert limit > 1
    form = {"files": {"images": photos[0]}}
    body = {"json": {"images": [base64.b64encode(photos[0]).decode()], "drawing": True}}
    with server.client() as client:
        asked = (("/v1/predict", form), ("/v1/predict?drawing=true", form), ("/v1/predict", body))
        (usual, *drawn) = [client.post(path, **what).json()["answers"][0]["novelty"] for path, what in asked]
    assert drawn == pytest.approx([usual / limit] * 2, rel=1e-6)


def test_silhouettes_that_a_person_draws_are_mostly_accepted(server: Server) -> None:
    random = np.random.default_rng(0)
    labels = (*drawings.HALVES, *drawings.WHOLES)
    files = [
        ("images", drawings.garment(label, style, random)) for label in labels for style in ("solid", "to and fro")
    ]
    with server.client() as client:
        accepted = [
            [not one["none_of_the_classes"] for one in client.post(path, files=files).json()["answers"]]
            for path in ("/v1/predict", "/v1/predict?drawing=true")
        ]
    usual, drawn = map(sum, accepted)
    assert usual < drawn
    assert drawn >= 0.85 * len(files)


def test_a_client_of_the_inference_protocol(server: Server, model_file: Path) -> None:
    images = modiste.load_dataset().validation.images[:70].numpy()
    expected = OnnxModel.load(model_file).run(images)
    with tritonclient.http.InferenceServerClient(f"{server.host}:{server.port}") as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("sprint")
        described = client.get_model_metadata("sprint")
        assert described["inputs"] == [{"name": "images", "datatype": "UINT8", "shape": [-1, 1, 28, 28]}]
        for binary, coding in ((True, None), (False, None), (True, "gzip"), (False, "deflate")):
            tensor = tritonclient.http.InferInput("images", list(images.shape), "UINT8")
            tensor.set_data_from_numpy(images, binary_data=binary)
            wanted = [tritonclient.http.InferRequestedOutput(name, binary_data=binary) for name in expected]
            for outputs in (wanted, None):
                found = client.infer(
                    "sprint", [tensor], outputs=outputs, request_id="one", request_compression_algorithm=coding
                )
                assert found.get_response()["id"] == "one"
                for name, values in expected.items():
                    np.testing.assert_allclose(found.as_numpy(name), values, rtol=1e-4, atol=1e-5)
        wrong = tritonclient.http.InferInput("images", [1, 1, 28, 27], "UINT8")
        wrong.set_data_from_numpy(images[:1, :, :, :27])
        with pytest.raises(InferenceServerException, match="expected bytes of shape"):
            client.infer("sprint", [wrong])


def test_what_is_served(server: Server, model_file: Path) -> None:
    with server.client() as client:
        told = client.get("/v1/model").json()
    model = OnnxModel.load(model_file)
    assert told["classes"] == list(model.class_names)
    assert told["image_shape"] == [1, 28, 28]
    assert told["metadata"]["fingerprint"] == model.metadata["fingerprint"]
    assert 0 < told["false_alarms"] < 0.1


def test_prediction_sets_are_answered_where_a_coverage_is_stated(
    server: Server, stated: Server, model_file: Path, photos: list[bytes], offline: list[FileAnswer]
) -> None:
    least = OnnxModel.load(model_file).least_probability(0.999)
    with stated.client() as client:
        files = [("images", (f"{n}.png", one)) for n, one in enumerate(photos)]
        found = client.post("/v1/predict", files=files).json()["answers"]
        described = client.get("/v1/model").json()
    assert (described["coverage"], "coverage" in described["metadata"]) == (0.999, False)
    for one, expected in zip(found, offline, strict=True):
        assert tuple(one["possible"]) == expected.with_set(least).possible
    assert any(len(one["possible"]) > 1 for one in found)
    with server.client() as client:
        assert client.post("/v1/predict", files={"images": photos[0]}).json()["answers"][0]["possible"] == []
        assert client.get("/v1/model").json()["coverage"] is None


def test_a_coverage_that_cannot_be_is_refused_in_one_line(model_file: Path) -> None:
    done = run_modiste("serve", model_file, "--port", "0", "--coverage", "95")
    assert (done.returncode, done.stderr.count("\n")) == (4, 1)
    assert "coverage: expected a number between 0 and 1" in done.stderr


def test_a_run_whose_name_begins_like_an_option_is_exported(monkeypatch: pytest.MonkeyPatch) -> None:
    called = list[list[str]]()

    def run(words: list[str], **_: object) -> "subprocess.CompletedProcess[bytes]":
        called.append(words)
        return subprocess.CompletedProcess(words, 0)

    monkeypatch.setattr("modiste.serving.serve.subprocess.run", run)
    export(Path("./-best"))
    export(Path("/runs/best"))
    assert [words[-1] for words in called] == [os.path.join(".", "-best"), "/runs/best"]  # noqa: PTH118


def listening_oddly(model_file: Path, *options: str) -> AbstractContextManager[Server]:
    """Serve a model that tells other things of itself, or gives another value everywhere."""
    return listening(model_file, *options, program=PROGRAMS / "serve_odd_model.py")


def test_a_name_that_nobody_can_write_is_not_served(model_file: Path) -> None:
    names = json.dumps(["\ud800", *"bcdefghij"])
    served = listening_oddly(model_file, "--names", names)
    with pytest.raises(AssertionError, match="cannot be written as UTF-8"), served:
        pass


@pytest.fixture(
    scope="module",
    params=[("nan", "nan"), *map(slow_case, [("many", "inf"), *((alarms, "nan") for alarms in ODD_ALARMS)])],
    ids=lambda one: f"alarms {one[0][:9]!r}, value {one[1]}",
)
def odd(request: pytest.FixtureRequest, model_file: Path) -> Iterator[Server]:
    """A server of a model with a share of false alarms that is none, a name that is none, and a value that is none."""
    alarms, value = request.param
    told = {"false_alarms": alarms, "recipe": "../" * 50 + "\u00fc" * 500}
    with listening_oddly(model_file, "--metadata", json.dumps(told), "--value", value) as server:
        yield server


def test_a_file_that_tells_odd_things_is_described(odd: Server) -> None:
    with odd.client() as client:
        described = client.get("/v1/model")
        assert described.status_code == 200
        assert described.json()["false_alarms"] is None
        assert client.get(f"/v2/models/{described.json()['name']}").status_code == 200


def test_what_is_no_number_is_no_number_in_json_either(odd: Server, photos: list[bytes]) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    with odd.client() as client:
        answer = client.post("/v1/predict?explain=true&steps=true", files={"images": photos[0]})
        assert answer.status_code == 200
        (found,) = json.loads(answer.text, parse_constant=refuse)["answers"]
        assert found["fault"] == NOT_FINITE
        data = {"name": "images", "datatype": "UINT8", "shape": [1, 1, 28, 28], "data": [0] * 784}
        path = f"/v2/models/{client.get('/v1/model').json()['name']}/infer"
        outputs = client.post(path, json={"inputs": [data]})
        told = json.loads(outputs.text, parse_constant=refuse)["outputs"]
    assert {number for one in told for number in one["data"]} == {None}


def test_it_starts_without_torch(model_file: Path) -> None:
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from modiste.inference.onnx_model import OnnxModel\n"
        "from modiste.serving.app import create_app\n"
        "from modiste.serving.server import Server\n"
        f"create_app(OnnxModel.load(Path({str(model_file)!r})))\n"
        "print([name for name in ('torch', 'matplotlib', 'scipy') if name in sys.modules])"
    )
    done = run_python("-c", script)
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.slow
def test_a_run_is_exported_first_and_served_only_as_it_was_written(
    photo_run: Path, tmp_path: Path, photos: list[bytes]
) -> None:
    run = shutil.copytree(photo_run, tmp_path / "run")
    with listening(run) as server, server.client() as client:
        assert client.post("/v1/predict", files={"images": photos[0]}).status_code == 200
    damaged = bytearray((run / "model.onnx").read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (run / "model.onnx").write_bytes(damaged)
    refused = run_modiste("serve", run, "--port", "0")
    assert refused.returncode == 4
    assert "model.onnx: damaged" in refused.stderr


HOSTILE = "from pathlib import Path\nPath('{trace}').write_text('code of a stranger ran')\n"


@pytest.mark.parametrize(
    ("made", "start"),
    [
        ("exported_run", ["-m", "modiste"]),
        slow_case("finished_run", ["-m", "modiste"]),  # which is exported first
        slow_case("finished_run", ["-P", "-m", "modiste"]),
    ],
)
def test_no_code_from_where_one_stands_is_run(
    made: str, start: list[str], tiny_folder: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """A finished run's folder with files named as what Modiste imports, and ``modiste serve .`` in it."""
    run, trace = shutil.copytree(request.getfixturevalue(made), tmp_path / "run"), tmp_path / "trace"
    for name in ("torch", "numpy", "onnx", "onnxruntime", "uvicorn", "multiprocessing", "subprocess", "modiste_run"):
        (run / f"{name}.py").write_text(HOSTILE.replace("{trace}", str(trace)), encoding="utf-8")
    options = ("--data-folder", tiny_folder)
    with listening(Path(), *options, start=start, folder=run) as server, server.client() as client:
        assert client.get("/livez").text == "ok"
    assert (run / "model.onnx").exists()
    assert not trace.exists()


@pytest.mark.slow
def test_the_data_folder_is_handed_to_the_export(finished_run: Path, tiny_folder: Path, tmp_path: Path) -> None:
    run = shutil.copytree(finished_run, tmp_path / "run")
    refused = run_modiste("serve", run, "--port", "0")
    assert (refused.returncode, "could not be exported" in refused.stderr) == (4, True)
    with listening(run, "--data-folder", tiny_folder) as server, server.client() as client:
        assert client.get("/v1/model").status_code == 200


def test_the_document_describes_what_is_there(server: Server) -> None:
    with server.client() as client:
        paths = json.loads(client.get("/openapi.json").content)["paths"]
    assert {"/v1/predict", "/v1/model", "/livez", "/readyz", "/metrics", "/v2/models/sprint/infer"} <= set(paths)


def test_the_document_describes_refusals_as_they_are_answered(server: Server) -> None:
    with server.client() as client:
        document = client.get("/openapi.json").json()
        unknown = client.post("/v2/models/sprint/infer", content=b"{}", headers={"Content-Encoding": "br"})
        foreign = client.get("/v2", headers={"Host": "shop.example"})
    described = {path: route["responses"] for path, one in document["paths"].items() for route in one.values()}
    assert (unknown.status_code, foreign.status_code) == (415, 421)
    assert "415" in described["/v2/models/sprint/infer"]
    assert {"401", "421"} <= set(described["/v2"])
    for path in ("/v2/health/ready", "/v2/models/sprint/ready", "/v2/models/sprint/versions/1/ready"):
        for status in ("200", "503"):  # a server that is about to stop answers {"ready": false}
            schema = described[path][status]["content"]["application/json"]["schema"]
            assert schema == {"$ref": "#/components/schemas/Readiness"}


@pytest.mark.parametrize("name", ["OVERSIZE", "SHAPE", "ADDRESS", "PATH"])
def test_the_examples_keep_a_model_s_name_as_it_is(name: str) -> None:
    path = f"/v2/models/{name}/infer"
    page = api_page({"paths": {path: {"post": {"responses": {}}}}}, (1, 28, 28)).decode()
    examples = re.findall("<pre.*?</pre>", page, re.DOTALL)
    assert all(f"http://127.0.0.1:8000</span>{path}" in example for example in examples)
    assert all("[1, 1, 28, 28]" in example for example in examples)
    assert "[0] * 784}" in examples[1]


def test_the_page_names_as_refusals_what_has_their_body() -> None:
    def answer(name: str) -> dict[str, Any]:
        return {"content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}}

    responses = {"421": answer("Fault"), "503": answer("Readiness")}
    page = api_page({"paths": {"/ready": {"get": {"responses": responses}}}}, (1, 28, 28)).decode()
    assert 'Refused with: <a href="#refusals">421</a>' in page


def test_the_page_about_the_addresses_says_that_their_description_needs_the_token() -> None:
    page = api_page({"paths": {}}, (1, 28, 28)).decode()
    assert "The description for programs needs the\ntoken too" in page


def test_nothing_else_is_there(server: Server) -> None:
    with server.client() as client:
        for path in ("/nowhere", "/docs", "/../etc/passwd", "/page.py", "/v2/models/other"):
            response = client.get(path)
            assert response.status_code == 404
            assert response.json() == {"error": "Not Found"}
        assert client.delete("/v1/predict").status_code == 405
    assert isinstance(response, httpx2.Response)
