"""ONNX files: the same answers as the run for every kind of network and any number of images, and what is inside."""

import html
import json
import logging
import re
import shutil
import sys
import tomllib
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from packaging.requirements import Requirement

import modiste
from commands_and_data import TEST_IMAGES, run_modiste
from fault_counter import slow_case
from modiste.cli.main import main
from modiste.data.dataset import Development, ImageSet
from modiste.data.idx.reader import read_idx
from modiste.errors import MissingExtraError, RunError, StorageError
from modiste.evaluation.assessment import evaluate
from modiste.evaluation.out_of_distribution.learning import learn
from modiste.evaluation.out_of_distribution.novelty import Answers
from modiste.evaluation.run_images import load_own_development
from modiste.exports import browser, card, export
from modiste.exports.ensemble import export_ensemble
from modiste.exports.export import compare
from modiste.exports.formats import FORMATS, parts, quantize
from modiste.inference.onnx_model import OnnxModel
from modiste.inference.predictor import Predictor
from modiste.models.capsnet import CapsNet
from modiste.models.registry import Task, build_model
from modiste.recipes.networks import CNNRecipe, EfficientNetLiteRecipe, ModelRecipe, OwnNetworkRecipe
from modiste.recipes.recipe import DataRecipe, Recipe, Views
from modiste.runs import checkpoint, manifest, run_folder, storage
from modiste.runs.checkpoint import ModelInfo
from modiste.runs.run_folder import open_run
from modiste.training import trainer
from modiste.training.setup import Inputs
from networks import SMALL, assert_rounded

ROOT = Path(__file__).parents[2]
ROUNDING = 1000 * float(np.finfo(np.float32).eps)
"""A probability computed from sums of up to a thousand terms."""
QUICK = (CNNRecipe(filters=(3, 4), pools=1, hidden=(5,), batch_norm=True), *(one for one in SMALL if one.KIND == "dbn"))
"""Networks that are written and read in a second or two, and have most operators."""
TASK = Task(image_shape=(2, 12, 16), class_names=("a", "b", "ü"), mean=(0.3, 0.5), deviation=(0.4, 0.3))


def case_of(network: ModelRecipe) -> Any:
    """Return a network as a case of a test; one that takes long to write is left to ``make test-all``."""
    return (pytest.param if network in QUICK else slow_case)(network, id=network.KIND)


def test_every_kind_of_network_is_tried() -> None:
    assert {type(recipe) for recipe in SMALL} == set(ModelRecipe.__args__) - {OwnNetworkRecipe}


@pytest.mark.parametrize("network", [case_of(one) for one in [*SMALL, QUICK[0]]])
def test_the_file_answers_like_the_network_for_any_number_of_images(network: ModelRecipe) -> None:
    images = np.random.RandomState(5).randint(0, 256, (131, *TASK.image_shape)).astype(np.uint8)
    model = build_model(network, TASK, seed=3).eval()
    for layer in model.modules():
        if isinstance(layer, CapsNet):  # before training its classes lie within rounding of one another
            layer.votes.data.mul_(4)
    shifts = int(network == QUICK[0])  # five times the operators, whose simplification takes minutes for large graphs
    novelty = learn(model, development(images))
    answers = Answers(model, views=Views(mirror=True, shifts=shifts), temperature=0.7, novelty=novelty).eval()
    content = FORMATS["onnx"].write(answers, ModelInfo(Recipe(name="tried", model=network), TASK, 4, "f" * 64))
    found = compare(FORMATS["onnx"].read(content), answers, development(images).validation)
    assert found.largest_difference < ROUNDING
    assert found.agreement >= 1 - 1 / len(images)  # where two classes lie within rounding, either may come first
    with torch.inference_mode():
        scores = answers(torch.from_numpy(images))[2].numpy()
    np.testing.assert_allclose(OnnxModel.from_bytes(content).classify(images).novelty, scores, rtol=1e-3, atol=1e-4)


def test_the_file_has_the_runs_table_of_false_alarm_rates(exported_run: Path, tiny_folder: Path) -> None:
    run, model = exported_run, OnnxModel.load(exported_run / "model.onnx")
    predictor = Predictor.load(run, device="cpu").with_novelty(run)
    images = load_own_development(open_run(run), tiny_folder).validation.images.numpy()
    usual = model.classify(images).novelty
    test = read_idx(tiny_folder / TEST_IMAGES, dimensions=3, what="images").array[:, None]
    words = ("predict", run / "model.onnx", tiny_folder / TEST_IMAGES, "--json", "--accept", "0.5")
    answered = [one["novelty"] for one in json.loads(run_modiste(*words).stdout)]
    np.testing.assert_allclose(answered, model.accepting(0.5).classify(test).novelty, rtol=1e-6)
    for rate in (0.01, 0.123, 0.5):
        scores = model.accepting(rate).classify(images).novelty
        assert not np.allclose(scores, usual)
        np.testing.assert_allclose(scores, predictor.accepting(rate).classify(images).novelty, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(model.accepting(rate).accepting(0.04).classify(images).novelty, usual)


def test_a_file_of_an_earlier_version_answers_at_its_one_rate(exported_run: Path, tiny_folder: Path) -> None:
    run, proto = exported_run, onnx.load(exported_run / "model.onnx")
    kept = {item.key: item.value for item in proto.metadata_props if item.key != "acceptance"}
    onnx.helper.set_model_props(proto, kept)
    model = OnnxModel.from_bytes(proto.SerializeToString())
    images = load_own_development(open_run(run), tiny_folder).validation.images.numpy()
    assert model.classify(images).novelty is not None
    with pytest.raises(RunError, match=r"one false-alarm rate only.*modiste export RUN"):
        model.accepting(0.1)


def development(images: np.ndarray) -> Development:
    """Take images with labels in turn for a data set."""
    whole = ImageSet(torch.from_numpy(images), torch.arange(len(images)) % len(TASK.class_names))
    return Development("tried", whole, whole.images, whole, TASK.class_names, "f" * 64)


def test_the_file_of_a_run(run: Path, tiny_folder: Path) -> None:
    done = export.export(run, data_folder=tiny_folder)
    assert done.path == run / "model.onnx"
    assert done.size_bytes == done.path.stat().st_size
    assert done.proof.agreement == 1
    assert done.proof.largest_difference < ROUNDING
    assert {"model.onnx", done.card.name} <= set(open_run(run).files)
    proto = onnx.load(done.path)
    onnx.checker.check_model(proto, full_check=True)
    told = {item.key: item.value for item in proto.metadata_props}
    info = open_run(run).load_info()
    assert json.loads(told["class_names"]) == list(info.task.class_names)
    assert told["recipe"] == "tiny"
    assert str(Path(modiste.__file__).parent).encode() not in done.path.read_bytes()
    assert told["fingerprint"] == info.fingerprint
    session = onnxruntime.InferenceSession(done.path, providers=["CPUExecutionProvider"])
    assert [(item.name, item.type) for item in session.get_inputs()] == [("images", "tensor(uint8)")]
    assert [item.name for item in session.get_outputs()] == ["logits", "probabilities", "novelty"]


def test_its_logits_are_those_of_the_run_and_its_probabilities_calibrated(
    exported_run: Path, tiny_recipe: Recipe, tiny_folder: Path, tmp_path: Path
) -> None:
    mirrored = tmp_path / "mirrored"
    trainer.train(replace(tiny_recipe, mirror=True, epochs=1), mirrored, Inputs(tiny_folder), device="cpu")
    export.export(mirrored, tmp_path / "elsewhere.onnx", opset=21, data_folder=tiny_folder)
    assert onnx.load(tmp_path / "elsewhere.onnx").opset_import[0].version == 21
    assert "model.onnx" not in open_run(mirrored).files
    for folder, path in ((exported_run, exported_run / "model.onnx"), (mirrored, tmp_path / "elsewhere.onnx")):
        images = load_own_development(open_run(folder), tiny_folder).validation.images
        logits, probabilities, _ = onnxruntime.InferenceSession(path).run(None, {"images": images.numpy()})
        stored, _ = run_folder.read_logits(folder / run_folder.logits_name("validation"))
        assert_rounded(torch.from_numpy(logits), stored, open_run(folder).load_model()[0])
        temperature = Predictor.load(folder, device="cpu").temperature
        np.testing.assert_allclose(probabilities, (stored / temperature).softmax(1), atol=ROUNDING)


def test_a_file_that_answers_otherwise_is_not_written(
    run: Path, exported_run: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proto = onnx.load(exported_run / "model.onnx")
    (bias,) = (one for one in proto.graph.initializer if one.name.endswith("head.bias"))
    bias.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias)[::-1] + 1, bias.name))
    other = proto.SerializeToString()
    monkeypatch.setitem(FORMATS, "onnx", replace(FORMATS["onnx"], write=lambda *_: other))
    with pytest.raises(RunError, match=r"answers otherwise than the run.*nothing was written"):
        export.export(run, data_folder=tiny_folder)
    assert not (run / "model.onnx").exists()


@pytest.mark.parametrize(("package", "kind"), [("onnxscript", "onnx"), ("PIL", "html")])
def test_without_the_packages(package: str, kind: str, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=r"export: needs .*: pip install 'modiste\[export\]'"):
        export.export(run, to=kind)


def test_the_extra_names_the_packages_of_every_format() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    required = {Requirement(one).name for name in ("export", "photo") for one in extras[name]}
    assert "photo" in Requirement(extras["export"][0]).extras
    packages = {name for kind in FORMATS.values() for name in kind.packages}
    assert packages
    assert {"pillow" if name == "PIL" else name for name in packages} <= required


@pytest.mark.slow
def test_the_command(run: Path, tiny_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["export", str(run), "--data-folder", str(tiny_folder)])
    done = capsys.readouterr()
    assert "same class for 100.00%" in done.out
    assert "model card: " in done.out
    assert done.err == ""
    assert storage.sha256(run / "model.onnx") == open_run(run).files["model.onnx"]
    missing = run_modiste("export", run / "nowhere")
    assert missing.returncode == 4
    assert "no run here" in missing.stderr


def assert_no_pickle(path: Path) -> None:
    """Assert that a program of torch holds no pickle."""
    assert b'"use_pickle": true' not in path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        named = {name.split("/", 1)[1]: archive.read(name) for name in archive.namelist()}
    assert not [name for name, content in named.items() if name.endswith((".pt", ".pkl")) and content]


@pytest.mark.parametrize("kind", [*sorted(set(FORMATS) - {"onnx", "html"}), slow_case("html")])
def test_every_other_kind_of_file_answers_like_the_run(kind: str, run: Path, tiny_folder: Path) -> None:
    if not FORMATS[kind].can_read():
        pytest.skip("needs Chromium: make chromium")
    done = export.export(run, to=kind, data_folder=tiny_folder)
    assert done.proof.agreement == 1
    assert done.proof.largest_difference < ROUNDING
    assert {done.path.name, done.card.name} <= set(open_run(run).files)
    if kind == "torch":
        assert_no_pickle(done.path)


def test_weights_carry_the_temperature_and_are_written_again_over_themselves(run: Path, tiny_folder: Path) -> None:
    done = export.export(run, to="safetensors", data_folder=tiny_folder)
    again = export.export(run, to="safetensors", data_folder=tiny_folder)
    assert storage.sha256(again.path) == open_run(run).files[done.path.name]
    predictor = Predictor.load(done.path, device="cpu")
    assert predictor.temperature == done.temperature == Predictor.load(run, device="cpu").temperature


@pytest.mark.slow
def test_eight_bits_are_smaller_and_say_what_they_cost(run: Path, tiny_folder: Path) -> None:
    whole = export.export(run, data_folder=tiny_folder)
    rounded = export.export(run, int8=True, data_folder=tiny_folder)
    assert rounded.path.name == "model-int8.onnx"
    graph = onnx.load(rounded.path).graph
    biases = {one.name for one in graph.initializer if one.data_type == onnx.TensorProto.INT32}
    assert any(node.input[0] in biases for node in graph.node if node.op_type == "DequantizeLinear")
    assert not any(name in biases for node in graph.node for name in node.input[2:])
    assert rounded.proof.images == len(load_own_development(open_run(run), tiny_folder).validation)
    assert 0 < rounded.proof.largest_difference < 0.3
    assert rounded.proof.agreement > 0.9
    kinds = {node.op_type for node in onnx.load(rounded.path).graph.node}
    assert "DequantizeLinear" in kinds - {node.op_type for node in onnx.load(whole.path).graph.node}
    with pytest.raises(RunError, match="ONNX files only"):
        export.export(run, to="torch", int8=True)


@pytest.mark.slow
def test_in_eight_bits_a_mirrored_network_holds_its_weights_once_and_its_activations_first() -> None:
    task = replace(TASK, image_shape=(3, 32, 32), mean=0.3, deviation=0.4)
    images = np.random.RandomState(5).randint(0, 256, (8, *task.image_shape)).astype(np.uint8)
    network = EfficientNetLiteRecipe()
    answers = Answers(build_model(network, task, seed=3).eval(), views=Views(mirror=True), temperature=1.0).eval()
    whole = FORMATS["onnx"].write(answers, ModelInfo(Recipe(name="tried", model=network), task, 4, "f" * 64))
    rounded = quantize(whole, images)
    assert len(rounded) < 0.4 * len(whole)
    graph = onnx.load_from_string(rounded).graph
    made_by = {output: node for node in graph.node for output in node.output}
    before = [made_by[node.input[0]].op_type for node in graph.node if node.op_type in ("Clip", "Relu")]
    assert "DequantizeLinear" not in before, "rounded before what is cut off is gone"


def test_a_page_is_opened_once_for_all_images(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []

    def asked(_content: bytes, _script: str, parts: list[str]) -> list[list[dict[str, list[float]]]]:
        opened.append(parts)
        return [[{"probabilities": [0.5, 0.3, 0.2]}] for _ in parts]

    monkeypatch.setattr(browser, "_asked", asked)
    images = np.zeros((4, 1, 224, 224), np.uint8)
    task = replace(TASK, image_shape=(1, 224, 224), mean=(0.3,), deviation=(0.4,))
    answers = Answers(
        build_model(CNNRecipe(filters=(2,), pools=1, hidden=()), task), views=Views(), temperature=1.0
    ).eval()
    found = compare(FORMATS["html"].read(b""), answers, development(images).validation)
    assert (found.images, [len(parts) for parts in opened]) == (4, [4])


@pytest.mark.parametrize(("side", "most"), [(28, 100), (224, 1), (40, 49)])
def test_larger_images_go_through_a_file_in_smaller_parts(side: int, most: int) -> None:
    images = np.zeros((130, 1, side, side), np.uint8)
    some = parts(images)
    assert sum(map(len, some)) == 130
    assert max(map(len, some)) <= 2 * most
    assert sum(map(len, parts(images[:1]))) == 1


@pytest.mark.slow
def test_the_card_says_what_was_measured(run: Path, tiny_folder: Path) -> None:
    written = export.export(run, data_folder=tiny_folder).card.read_text(encoding="utf-8")
    assert "has not been evaluated on the test set" in written
    measured = evaluate(run, data_folder=tiny_folder)
    assert f"| accuracy, 95 % interval | {measured.accuracy:.2%} (" in written
    evaluate(run, split="test", data_folder=tiny_folder)
    written = export.export(run, data_folder=tiny_folder).card.read_text(encoding="utf-8")
    assert "has not been evaluated" not in written
    assert "test, " in written
    for name, scores in measured.per_class.items():
        assert f"| F1, {name} | {scores.f1:.3f} |" in written


def test_a_crash_while_a_file_is_written_anew_leaves_the_run_whole(
    exported_run: Path, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Path(shutil.copytree(exported_run, tmp_path / "run"))
    honest = storage.write_bytes

    def crash_after(path: Path, content: bytes) -> None:
        honest(path, content)
        if path.name == "model.onnx":
            raise KeyboardInterrupt

    monkeypatch.setattr(storage, "write_bytes", crash_after)
    monkeypatch.setitem(FORMATS, "onnx", replace(FORMATS["onnx"], write=lambda *_: (run / "model.onnx").read_bytes()))
    with pytest.raises(KeyboardInterrupt):
        export.export(run, data_folder=tiny_folder)
    assert "model.onnx" not in open_run(run).files


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (DataRecipe(), "is separated from a plain background,"),
        (DataRecipe(background="network"), "is separated from any background by a segmentation network,"),
        (DataRecipe(background="auto"), "by a segmentation network, or from a plain one,"),
        (DataRecipe(pictures="whole"), "padded with black to a square"),
    ],
)
def test_the_card_says_how_photos_are_prepared(data: DataRecipe, said: str) -> None:
    limits = card.limits(data)
    assert said in limits
    assert ("plain background" in limits) == (data == DataRecipe())
    assert "{" not in limits


@pytest.mark.parametrize(
    "words",
    [
        "<script>alert(1)</script>",
        "[click](javascript:alert(1))",
        "![x](https://example.org/pixel)",
        "https://example.org",
        "www.example.org",
        "a | b",
        "**bold** _slanted_ `code` ~~gone~~",
        "# title",
        "---",
        "- item",
        "1. item",
        "&lt;b&gt;",
        "line\n# another",
        "\x1b[2J",
        "\\",
        "me@example.org",
    ],
)
def test_class_names_are_nothing_but_text_in_the_card(words: str) -> None:
    markdown = card.plain_text(words)
    assert html.unescape(markdown) == "".join(one if one.isprintable() else ascii(one)[1:-1] for one in words)
    bare = re.sub(r"&#\d+;", "x", markdown)
    assert not re.search(r"[\\`*_\[\]<>#|~&:@]|www\.|^[-+]|^\d+[.)](\s|$)|\n", bare)
    assert card.code(words) in (f"`{words}`", f"<code>{markdown}</code>")
    assert not (card.code(words)[0] == "`" and re.search(r"[^\w./ -]", words))


def test_ordinary_names_stay_as_they_are_in_the_card() -> None:
    for name in ("T-shirt/top", "Ankle boot", "größe", "3.5 mm", "sprint-93"):
        assert card.plain_text(name) == name
    assert card.code("fashion-mnist") == "`fashion-mnist`"


def test_the_card_holds_no_raw_words_of_a_stranger(run: Path, tiny_folder: Path) -> None:
    weights, plain = checkpoint.read(run / "model.safetensors")
    evil = "<img src=x onerror=alert(1)>|"
    plain["task"]["class_names"][1] = evil
    (run / "model.safetensors").write_bytes(checkpoint.to_bytes(weights, plain))
    files, openings = manifest.read(run)
    manifest.write(run, {**files, "model.safetensors": storage.sha256(run / "model.safetensors")}, openings)
    text = export.export(run, to="safetensors", data_folder=tiny_folder).card.read_text(encoding="utf-8")
    assert evil not in text
    assert text.count("&#60;img src=x onerror=alert(1)&#62;&#124;") == 2


@pytest.mark.parametrize(
    ("out", "told"),
    [
        ("folder", "folder: expected the name of a file, found a folder; name a file in it"),
        (".", r"\.: expected the name of a file, found a folder"),
        ("other/model.safetensors", "model.safetensors: is part of the run and is not replaced; choose another name"),
        ("other/model.onnx", "model.onnx: is part of the run and is not replaced; choose another name"),
        ("begun/log.jsonl", "log.jsonl: is part of the run and is not replaced"),
        ("run/recipe.json", "recipe.json: is part of the run and is not replaced"),
        ("README", "README.md: would be replaced by the model card of README; choose another name, or delete it"),
        ("README.md/model.onnx", r"README\.md: cannot be written \(.*"),
    ],
)
@pytest.mark.parametrize("several", [False, True])
def test_a_place_where_nothing_may_be_written_is_told_before_the_work(
    out: str, told: str, several: bool, exported_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("run", "other"):
        shutil.copytree(exported_run, tmp_path / name)
    for name in ("folder", "begun"):
        (tmp_path / name).mkdir()
    shutil.copy(exported_run / "recipe.json", tmp_path / "begun")
    (tmp_path / "README.md").write_text("mine")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for name in ("exports.export.development_of", "exports.ensemble.measure_runs"):
        monkeypatch.setattr(f"modiste.{name}", lambda *_, **__: pytest.fail("the work begins"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises((RunError, StorageError), match=told) as caught:
        export_ensemble(["run", "other"], out) if several else export.export("run", out)
    assert "\n" not in str(caught.value)
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING]


class DependsOnValues(torch.nn.Linear):
    def __init__(self) -> None:
        super().__init__(144, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits = super().forward(images.flatten(1))
        return logits + 1 if logits.sum() > 0 else logits


@pytest.mark.parametrize("kind", ["onnx", "torch"])
def test_a_network_of_somebody_that_torch_cannot_convert_is_told_in_a_line(
    kind: str, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    recipe = modiste.with_own_code(Recipe(name="tried", model=QUICK[0]), network=DependsOnValues)
    task = Task(image_shape=(1, 12, 12), class_names=("a", "b", "c"))
    answers = Answers(build_model(recipe.model, task).eval(), views=Views(), temperature=1.0).eval()
    with pytest.raises(RunError, match=rf"^export: torch cannot convert this network to {kind} \(.+\); change") as told:
        FORMATS[kind].write(answers, ModelInfo(recipe, task, 1, "f" * 64))
    assert "\n" not in str(told.value)
    assert capfd.readouterr().err == ""
    assert warnings_in(caplog) == []


class TestOpset:
    @pytest.mark.slow
    @pytest.mark.parametrize("opset", [18, 21])
    def test_the_file_has_these_operators_and_the_same_answers(
        self, opset: int, finished_run: Path, tmp_path: Path, tiny_folder: Path
    ) -> None:
        run = shutil.copytree(finished_run, tmp_path / "run")
        done = export.export(run, tmp_path / "m.onnx", opset=opset, data_folder=tiny_folder)
        versions = {entry.domain: entry.version for entry in onnx.load(done.path).opset_import}
        assert versions[""] == opset
        assert done.proof.largest_difference <= ROUNDING

    @pytest.mark.slow
    def test_one_that_the_converter_does_not_reach_is_refused(
        self, finished_run: Path, tmp_path: Path, tiny_folder: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        run = shutil.copytree(finished_run, tmp_path / "run")
        told = r"--opset 7: the converter stops at opset (\d+) for this network; give \1 or more"
        with pytest.raises(RunError, match=told):
            export.export(run, tmp_path / "m.onnx", opset=7, data_folder=tiny_folder)
        assert warnings_in(caplog) == []
        assert not (tmp_path / "m.onnx").exists()

    @pytest.mark.parametrize(
        ("words", "told"),
        [
            ({"opset": 99}, "expected from 1 to 23, found 99"),
            ({"opset": "18"}, "expected from 1 to 23, found '18'"),
            ({"opset": 18.5}, "expected from 1 to 23, found 18.5"),
            ({"opset": 18, "to": "torch"}, "for ONNX files only"),
            ({"to": ["onnx"]}, r"no format \['onnx'\]"),
        ],
    )
    def test_what_makes_no_sense(
        self, words: dict[str, Any], told: str, finished_run: Path, without_type_checks: None
    ) -> None:
        with pytest.raises(RunError, match=told):
            export.export(finished_run, **words)
