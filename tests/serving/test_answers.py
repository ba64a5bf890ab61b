"""Answers over the network are those given without it, whoever asks, however many ask at once."""

import base64
import json
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import numpy as np
import pytest
import tritonclient.http
from listening import Server, listening
from tritonclient.utils import InferenceServerException

import modiste
from modiste.onnx_model import OnnxModel
from modiste.prediction import Answer, answers
from workbench import run_modiste, run_python

CLIENTS = 64


@pytest.fixture(scope="module")
def offline(model_file: Path, photos: list[bytes]) -> list[Answer]:
    return list(answers(OnnxModel.load(model_file), [(str(n), photo) for n, photo in enumerate(photos)]))


def assert_same(found: dict[str, object], expected: Answer) -> None:
    assert found["label"] == expected.probabilities[0][0]
    for name, value in expected.probabilities:
        assert found["probabilities"][name] == pytest.approx(value, abs=1e-5)
    assert found["novelty"] == pytest.approx(expected.novelty, rel=1e-3)
    assert found["none_of_the_classes"] == expected.is_novel
    assert (found["separated"], found["inverted"]) == (expected.prepared.separated, expected.prepared.inverted)


def test_photos_in_a_form_and_in_json(server: Server, photos: list[bytes], offline: list[Answer]) -> None:
    with server.client() as client:
        form = client.post("/v1/predict", files=[("images", (f"{n}.png", one)) for n, one in enumerate(photos)])
        plain = client.post("/v1/predict", json={"images": [base64.b64encode(one).decode() for one in photos]})
    for response in (form, plain):
        assert response.status_code == 200
        for found, expected in zip(response.json()["answers"], offline, strict=True):
            assert_same(found, expected)
    assert [one["name"] for one in form.json()["answers"]] == [f"{n}.png" for n in range(len(photos))]


def test_many_clients_at_once_get_the_answers_that_each_gets_alone(
    server: Server, photos: list[bytes], offline: list[Answer]
) -> None:
    together = threading.Barrier(CLIENTS)

    def ask(number: int) -> list[dict[str, object]]:
        together.wait()
        with server.client() as client:
            turns = [(number + turn) % len(photos) for turn in range(3)]
            return [client.post("/v1/predict", files={"images": photos[turn]}).json()["answers"][0] for turn in turns]

    with ThreadPoolExecutor(CLIENTS) as pool:
        for number, found in enumerate(pool.map(ask, range(CLIENTS))):
            for turn, one in enumerate(found):
                assert_same(one, offline[(number + turn) % len(photos)])
    with server.client() as client:
        counted = client.get("/metrics").text
    assert 'modiste_requests_total{route="/v1/predict",status="200"}' in counted
    batches = next(line for line in counted.splitlines() if line.startswith("modiste_batch_images_count"))
    images = next(line for line in counted.splitlines() if line.startswith("modiste_batch_images_sum"))
    assert float(images.split()[1]) > float(batches.split()[1])  # some went together


def test_a_picture_that_cannot_be_read_spoils_no_other(server: Server, photos: list[bytes]) -> None:
    with server.client() as client:
        files = [
            ("images", ("letter.txt", b"Dear Sir")),
            ("images", ("boot.png", photos[0])),
            ("images", ("empty", b"")),
        ]
        found = client.post("/v1/predict", files=files).json()["answers"]
        assert ["fault" in one and bool(one["fault"]) for one in found] == [True, False, True]
        assert "no image that can be read" in found[0]["fault"]
        damaged = client.post("/v1/predict", json={"images": ["no base64!"]}).json()["answers"]
    assert damaged[0]["fault"] == "expected base64"


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


def test_a_client_of_the_inference_protocol(server: Server, model_file: Path) -> None:
    images = modiste.load_dataset().validation.images[:70].numpy()
    expected = OnnxModel.load(model_file).run(images)
    with tritonclient.http.InferenceServerClient(f"{server.host}:{server.port}") as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("sprint")
        described = client.get_model_metadata("sprint")
        assert described["inputs"] == [{"name": "images", "datatype": "UINT8", "shape": [-1, 1, 28, 28]}]
        for binary in (True, False):
            tensor = tritonclient.http.InferInput("images", list(images.shape), "UINT8")
            tensor.set_data_from_numpy(images, binary_data=binary)
            wanted = [tritonclient.http.InferRequestedOutput(name, binary_data=binary) for name in expected]
            for outputs in (wanted, None):
                found = client.infer("sprint", [tensor], outputs=outputs, request_id="one")
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
    assert told["metadata"]["fingerprint"] == model.told["fingerprint"]
    assert 0 < told["false_alarms"] < 0.1


def test_it_starts_without_torch(model_file: Path) -> None:
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from modiste.onnx_model import OnnxModel\n"
        "from modiste.serving.app import create_app\n"
        "from modiste.serving.server import Server\n"
        f"create_app(OnnxModel.load(Path({str(model_file)!r})))\n"
        "print([name for name in ('torch', 'matplotlib', 'scipy') if name in sys.modules])"
    )
    done = run_python("-c", script)
    assert done.stdout.strip() == "[]", done.stderr


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


def test_the_document_describes_what_is_there(server: Server) -> None:
    with server.client() as client:
        paths = json.loads(client.get("/openapi.json").content)["paths"]
    assert {"/v1/predict", "/v1/model", "/livez", "/readyz", "/metrics", "/v2/models/sprint/infer"} <= set(paths)


def test_nothing_else_is_there(server: Server) -> None:
    with server.client() as client:
        for path in ("/nowhere", "/docs", "/../etc/passwd", "/page.py", "/v2/models/other"):
            response = client.get(path)
            assert response.status_code == 404
            assert response.json() == {"error": "Not Found"}
        assert client.delete("/v1/predict").status_code == 405
    assert isinstance(response, httpx2.Response)
