"""The classifier in one file: the same bytes and answers as Python's, opened from disk, without a request."""

import base64
import contextlib
import io
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import ExifTags, Image, ImageDraw
from playwright.sync_api import Browser, Page, expect

from chromium import ask_for_a_deleted_file
from commands_and_data import run_python
from fault_counter import slow_case
from modiste.cli.main import main
from modiste.data.dataset import Development, ImageSet
from modiste.data.idx.idx_source import CLASS_NAMES
from modiste.errors import DataError, PhotoError, RunError
from modiste.evaluation.out_of_distribution.learning import learn
from modiste.evaluation.out_of_distribution.novelty import Answers
from modiste.exports import export, onnx_graph, onnxruntime_web
from modiste.exports.browser import ABSENT
from modiste.exports.formats import FORMATS, as_page
from modiste.exports.one_file import one_file_page
from modiste.exports.onnx_graph import parse, read_graph, shortened
from modiste.models.registry import Task, build_model
from modiste.photo.garment import Prepared
from modiste.photo.preparation import Preparation
from modiste.recipes.networks import CNNRecipe, ModelRecipe, ResNetRecipe, SprintRecipe
from modiste.recipes.recipe import DataRecipe, Recipe, Views
from modiste.runs.checkpoint import ModelInfo

HOSTILE = ("</script><script>alert(1)</script>", '"quoted" & <b>bold</b>', "0", "<!--", "\u2028 line")
"""Names of classes that would be markup, end a script, or come first in an object."""
PHONE, DESKTOP = {"width": 390, "height": 844}, {"width": 1200, "height": 900}
GROUNDS = ("light", "dark", "noisy", "shaded", "coloured", "rough")


TASK = Task(image_shape=(1, 28, 28), class_names=HOSTILE, mean=(0.3,), deviation=(0.35,))
SMALL = CNNRecipe(filters=(4, 6), pools=2, hidden=(10,))
NORMALISED = CNNRecipe(filters=(3, 4), pools=1, hidden=(5,), batch_norm=True)
RECIPE = Recipe(name="tried", model=SMALL)


@pytest.fixture(scope="module")
def one_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a small untrained network whose classes have hostile names."""
    recipe = Recipe(name="tried", model=SMALL)
    answers = Answers(build_model(SMALL, TASK, seed=1).eval(), views=Views(), temperature=0.9).eval()
    path = tmp_path_factory.mktemp("page") / "classifier.html"
    path.write_bytes(as_page(answers, ModelInfo(recipe, TASK, 1, "f" * 64)))
    return path


@contextmanager
def opened(browser: Browser, one_file: Path) -> Iterator[Page]:
    """Open the page from disk; it may ask for nothing, and nothing may be said on its console."""
    context = browser.new_context(viewport=DESKTOP, offline=True)
    page, said = context.new_page(), list[str]()
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: said.append(dialog.message))
    page.on("request", lambda request: None if request.url.startswith("data:") else said.append(request.url))
    page.goto(one_file.as_uri())
    yield page
    context.close()
    assert said == [one_file.as_uri()]


@pytest.fixture
def page(browser: Browser, one_file: Path) -> Iterator[Page]:
    with opened(browser, one_file) as page:
        yield page


@pytest.fixture(scope="module")
def answerless(browser: Browser, one_file: Path) -> Iterator[Page]:
    """The page for cases that get no answer, and so leave it as it was."""
    with opened(browser, one_file) as page:
        yield page


def drawn(seed: int) -> Image.Image:
    """Return a picture of one or two garments, drawn by chance on one of GROUNDS."""
    random = np.random.default_rng(seed)
    kind = GROUNDS[seed % len(GROUNDS)]
    width, height = (int(one) for one in random.integers(40, 420, 2))
    bright = {"dark": (5, 60), "coloured": (60, 200)}.get(kind, (170, 250))
    ground = np.broadcast_to(random.uniform(*bright, 3), (height, width, 3)).copy()
    if kind == "shaded":
        ground *= np.linspace(1, 0.7, width)[None, :, None]
    if kind in ("noisy", "rough"):
        ground += random.normal(0, 6 if kind == "noisy" else 45, ground.shape)
    picture = Image.fromarray(ground.clip(0, 255).astype(np.uint8))
    pen = ImageDraw.Draw(picture)
    for number in range(1 + (seed % 5 == 4)):
        left, right = sorted(random.uniform(0.02, 0.98, 2) * width)
        top, bottom = sorted(random.uniform(0.02, 0.98, 2) * height)
        colour = tuple(
            int(one) for one in (random.integers(100, 255, 3) if kind == "dark" else random.integers(0, 160, 3))
        )
        pen.polygon(
            [(left, top), (right + 6, top + 3), (right + 6, bottom + 6), ((left + right) / 2, bottom + 3)], colour
        )
        pen.ellipse((left, top, right + 6, (top + bottom) / 2 + 6), colour if number else None, colour, 3)
    return picture


def as_png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG", compress_level=1)
    return file.getvalue()


def in_python(content: bytes, preparation: Preparation) -> Prepared | str:
    try:
        return preparation(content)
    except PhotoError as error:
        return str(error)


def in_page(page: Page, content: bytes, preparation: Preparation) -> dict[str, Any]:
    asked = {"way": preparation.way, "side": preparation.side, "channels": preparation.channels}
    sent = [base64.b64encode(content).decode(), asked]
    found: dict[str, Any] = page.evaluate("([content, asked]) => preparedFor(content, asked)", sent)
    return found


@pytest.mark.parametrize(
    "preparation",
    [
        Preparation(),
        Preparation(side=64),
        Preparation("whole", 32, 3),
        Preparation("whole", 200, 1),
        Preparation("stretched", 24, 3),
        Preparation("stretched", 150, 1),
    ],
    ids=lambda one: f"{one.way}-{one.side}-{one.channels}",
)
def test_the_preparation_gives_the_same_bytes_as_in_python(answerless: Page, preparation: Preparation) -> None:
    kinds = set()
    for seed in range(36 if preparation == Preparation() else 6):
        content = as_png(drawn(seed))
        expected, found = in_python(content, preparation), in_page(answerless, content, preparation)
        if isinstance(expected, str):
            assert found == {"fault": expected}, seed
            kinds.add("fault")
            continue
        facts = (expected.separated, expected.inverted, expected.doubt)
        assert (found["separated"], found["inverted"], found["doubt"]) == facts, seed
        assert base64.b64decode(found["image"]) == expected.image.tobytes(), seed
        assert found["steps"] == list(expected.steps), seed
        kinds.add(facts)
    if preparation == Preparation():
        assert len(kinds) >= 5  # separated and not, light and dark, with doubts


@pytest.mark.parametrize(
    ("network", "shape", "views"),
    [
        slow_case(NORMALISED, (3, 16, 16), Views(mirror=True, shifts=1), id="cnn"),
        pytest.param(SprintRecipe(filters=(4, 6), hidden=8), (1, 12, 12), Views(mirror=True), id="sprint"),
        slow_case(ResNetRecipe(depth=10), (1, 12, 12), Views(), id="resnet"),
    ],
)
def test_the_page_computes_what_the_network_does(
    browser: Browser, network: ModelRecipe, shape: tuple[int, int, int], views: Views, tmp_path: Path
) -> None:
    draw = np.random.RandomState(5)
    images = draw.randint(0, 256, (60, *shape)).astype(np.uint8)
    mean, deviation = ((share,) * shape[0] for share in (0.3, 0.4))
    task = Task(image_shape=shape, class_names=("a", "b", "c"), mean=mean, deviation=deviation)
    model = build_model(network, task, seed=3).eval()
    known = ImageSet(torch.from_numpy(images), torch.arange(60) % 3)
    novelty = learn(model, Development("tried", known, known.images, known, task.class_names, "f" * 64))
    answers = Answers(model, views=views, temperature=0.7, novelty=novelty).eval()
    path = tmp_path / "page.html"
    recipe = Recipe(name="tried", model=network, data=DataRecipe(pictures="whole"))
    path.write_bytes(as_page(answers, ModelInfo(recipe, task, 4, "f" * 64)))
    page = browser.new_page()
    page.goto(path.as_uri())
    some = images[:12]
    rows = page.evaluate("(images) => computedFor(images)", base64.b64encode(some.tobytes()).decode())
    page.close()
    with torch.inference_mode():
        _, probabilities, novelties = (one.numpy() for one in answers(torch.from_numpy(some)))
    np.testing.assert_allclose([row["probabilities"] for row in rows], probabilities, atol=1e-4)
    np.testing.assert_allclose([row["novelty"] for row in rows], novelties, rtol=1e-3, atol=1e-3)


@pytest.mark.skipif(
    "MODISTE_ONNXRUNTIME" not in os.environ and not onnxruntime_web.package_path().exists(),
    reason="needs ONNX Runtime for browsers: make browser-runtime",
)
@pytest.mark.slow
def test_a_network_of_other_operators_runs_by_onnx_runtime(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(onnx_graph.OPERATORS, "Relu")
    images = np.random.default_rng(5).integers(0, 256, (6, *TASK.image_shape)).astype(np.uint8)
    answers = Answers(build_model(SMALL, TASK, seed=1).eval(), views=Views(), temperature=0.9).eval()
    path = tmp_path / "page.html"
    path.write_bytes(as_page(answers, ModelInfo(Recipe(name="tried", model=SMALL), TASK, 1, "f" * 64)))
    context = browser.new_context(offline=True)
    page, said = context.new_page(), list[str]()
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(path.as_uri())
    rows = page.evaluate("(images) => computedFor(images)", base64.b64encode(images.tobytes()).decode())
    give(page, as_png(drawn(0)), "shirt.png")
    expect(page.locator("#found")).to_be_visible()
    expect(page.locator("footer summary")).to_contain_text("ONNX Runtime Web 1.22.0, Copyright (c) Microsoft")
    context.close()
    assert said == []
    with torch.inference_mode():
        probabilities = answers(torch.from_numpy(images))[1].numpy()
    np.testing.assert_allclose([row["probabilities"] for row in rows], probabilities, atol=1e-5)


@pytest.mark.parametrize("way", ["offline", "no npm", "npm fails", "another file"])
def test_without_onnx_runtime_one_line_says_what_to_do(
    way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MODISTE_ONNXRUNTIME", raising=False)
    monkeypatch.setattr(onnxruntime_web, "package_path", lambda: tmp_path / "none.tgz")
    if way == "offline":
        monkeypatch.setenv("MODISTE_OFFLINE", "1")
    else:
        monkeypatch.delenv("MODISTE_OFFLINE", raising=False)
    programs = tmp_path / "programs"
    programs.mkdir()
    if way == "npm fails":
        (programs / "npm").write_text("#!/bin/sh\nexit 1\n")
        (programs / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=":" if way == "npm fails" else None)
    if way == "another file":
        monkeypatch.setenv("MODISTE_ONNXRUNTIME", __file__)
    with pytest.raises((RunError, DataError)) as caught:
        one_file_page(onnx_file(helper.make_node("Erf", ["images"], ["out"])), ModelInfo(RECIPE, TASK, 1, "f" * 64))
    said = {
        "offline": "and MODISTE_OFFLINE is set;",
        "no npm": "and npm is not installed;",
        "npm fails": "and npm could not fetch it;",
        "another file": "another file, not opened",
    }
    assert said[way] in str(caught.value)
    assert "name the file by MODISTE_ONNXRUNTIME" in str(caught.value)
    assert "\n" not in str(caught.value)


def onnx_file(*nodes: onnx.NodeProto) -> bytes:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("images", "out")]
    return helper.make_model(helper.make_graph(list(nodes), "tried", values[:1], values[1:])).SerializeToString()


@pytest.mark.parametrize(
    ("node", "named"),
    [
        (helper.make_node("Erf", ["images"], ["out"]), "the operator Erf,"),
        (helper.make_node("Cast", ["images"], ["out"], to=TensorProto.INT64), "Cast to integers"),
        (helper.make_node("MaxPool", ["images"], ["out"], kernel_shape=[2, 2], ceil_mode=1), "MaxPool with"),
        (helper.make_node("Conv", ["images", "w"], ["out"], kernel_shape=[2, 2], dilations=[2, 2]), "Conv with"),
        (helper.make_node("Gemm", ["images", "w"], ["out"], transA=1), "Gemm with transA"),
        (helper.make_node("Softmax", ["images"], ["out"], axis=2), "Softmax over another axis"),
        (helper.make_node("Relu", ["images"], ["out"], domain="own"), "the operator Relu"),
    ],
    ids=lambda one: one if isinstance(one, str) else one.op_type,
)
def test_an_operator_that_the_page_does_not_compute_is_named(node: onnx.NodeProto, named: str) -> None:
    with pytest.raises(RunError, match=named) as caught:
        read_graph(parse(onnx_file(node)))
    assert "\n" not in str(caught.value)


def test_a_tensor_of_another_type_is_left_to_onnx_runtime() -> None:
    model = parse(onnx_file(helper.make_node("Add", ["images", "half"], ["out"])))
    model.graph.initializer.append(numpy_helper.from_array(np.ones(3, np.float16), "half"))
    with pytest.raises(onnx_graph.OperatorError, match="the tensor half holds float16; expected") as caught:
        read_graph(model)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("node", "shapes", "named"),
    [
        (helper.make_node("Softmax", ["images"], ["out"], axis=1), [[2, 3]], ""),
        (helper.make_node("Softmax", ["images"], ["out"], axis=1), [[2, 3, 4, 4]], "Softmax over another axis"),
        (helper.make_node("MatMul", ["images", "more"], ["out"]), [[2, 3, 4], [4, 5]], ""),
        (helper.make_node("MatMul", ["images", "more"], ["out"]), [[2, 3, 4], [2, 4, 5]], "MatMul of several matrices"),
    ],
)
def test_what_the_page_computes_depends_on_the_number_of_axes(
    node: onnx.NodeProto, shapes: list[list[int]], named: str
) -> None:
    """Its script knows matrices and the last axis alone, and would compute something else."""
    twice = helper.make_node("Relu", ["given"], ["images"])  # its shape follows from what comes before
    values = zip(("given", "more"), shapes, strict=False)
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in values]
    output = helper.make_tensor_value_info("out", TensorProto.FLOAT, None)
    model = helper.make_model(helper.make_graph([twice, node], "tried", inputs, [output]))
    with pytest.raises(RunError, match=named) if named else contextlib.nullcontext():
        read_graph(model)


def test_weights_of_two_bytes_are_rounded_to_the_nearest() -> None:
    values = np.random.default_rng(0).uniform(-2, 2, (50, 100)).astype(np.float32)
    values[0, :3] = 0, 3, -3
    step, content = shortened(values)
    read = step * np.frombuffer(content, "<i2").reshape(values.shape)
    assert np.abs(read - values).max() <= step / 2 * (1 + 1e-9)
    np.testing.assert_allclose(read[0, :3], [0, 3, -3], rtol=1e-12)
    assert shortened(np.zeros(3, np.float32)) == (1.0, bytes(6))


def test_the_page_reads_long_and_short_weights(browser: Browser, one_file: Path) -> None:
    long, short = np.arange(-3, 3, dtype="<f4") / 7, np.linspace(-5, 5, 6, dtype=np.float32)
    step, content = shortened(short)
    tensors = {"a": {"shape": [6], "offset": 0}, "b": {"shape": [6], "offset": 24, "step": step}}
    node = {"operator": "Add", "inputs": ["a", "b"], "output": "sum"}
    sent = [{"nodes": [node], "tensors": tensors, "outputs": ["sum"]}, list(long.tobytes() + content)]
    page = browser.new_page()
    page.goto(one_file.as_uri())
    run = "([graph, bytes]) => [...new Network(graph, new Uint8Array(bytes)).run([], [0], ['sum']).sum]"
    np.testing.assert_allclose(page.evaluate(run, sent), long + short, atol=step)
    page.close()


def test_a_network_whose_pictures_the_page_cannot_prepare_is_refused() -> None:
    info = ModelInfo(RECIPE, TASK, 1, "f" * 64)
    wide = replace(info, task=replace(TASK, image_shape=(1, 12, 16)))
    with pytest.raises(RunError, match="takes square images of 1 or 3 channels, this network 1 x 12 x 16"):
        one_file_page(b"", wide)
    restless = replace(info.recipe, data=DataRecipe(background="network"))
    with pytest.raises(RunError, match="on plain backgrounds only, this run by 'network'"):
        one_file_page(b"", replace(info, recipe=restless))


def test_names_reach_the_page_as_text(page: Page) -> None:
    assert page.locator("#served").inner_text().replace("\u2028", "") == "tried: " + ", ".join(HOSTILE).replace(
        "\u2028", ""
    )
    give(page, as_png(drawn(0)), "<img src=x onerror=alert(1)>.png")
    expect(page.locator("#found")).to_be_visible()
    names = page.eval_on_selector_all("#bars th", "all => all.map((one) => one.textContent)")
    assert sorted(names) == sorted(HOSTILE)
    shares = [float(one.removesuffix(" %")) for one in page.locator("#bars .share").all_inner_texts()]
    assert shares == sorted(shares, reverse=True)
    expect(page.locator("#verdict")).to_contain_text(names[0].strip())
    give(page, b"Dear Sir", "<b>letter</b>.jpg")
    expect(page.get_by_role("alert")).to_contain_text("<b>letter</b>.jpg: not an image that this browser can read")


def test_titles_fit_the_classes(page: Page, browser: Browser, tmp_path: Path) -> None:
    expect(page.locator("#ask-title")).to_have_text("Show a picture")
    expect(page.locator("#best")).to_have_text("One object on a plain background does best.")
    expect(page.locator("#samples")).to_be_hidden()
    task = replace(TASK, class_names=CLASS_NAMES)
    answers = Answers(build_model(SMALL, task, seed=1).eval(), views=Views(), temperature=0.9).eval()
    (tmp_path / "page.html").write_bytes(
        as_page(answers, ModelInfo(Recipe(name="tried", model=SMALL), task, 1, "f" * 64))
    )
    other = browser.new_page()
    other.goto((tmp_path / "page.html").as_uri())
    expect(other.locator("#ask-title")).to_have_text("Show a garment")
    other.locator("#samples button", has_text="Ankle boot").click()
    expect(other.locator("#steps figcaption")).to_have_count(5)
    other.close()


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "the file is empty; expected a photo"),
        (
            b"\xff\xd8\xff\xe0 not a JPEG",
            "not an image that this browser can read; expected JPEG, PNG, WebP, GIF or BMP",
        ),
        (
            as_png(Image.new("RGB", (300, 3))),
            "the image is 300 x 3; expected at least 4 pixels a side, and no side 50 times the other",
        ),
        (
            as_png(Image.new("RGB", (90, 90), "white")),
            "nothing stands out from the background; expected a garment on a plain one",
        ),
    ],
    ids=["empty", "broken", "strip", "blank"],
)
def test_a_file_that_cannot_be_answered_gets_a_line(answerless: Page, content: bytes, fault: str) -> None:
    give(answerless, content, "given.png")
    expect(answerless.get_by_role("alert")).to_have_text(f"given.png: {fault}")
    expect(answerless.locator("#found")).to_be_hidden()


def test_a_file_that_is_too_large_gets_a_line(answerless: Page) -> None:
    answerless.evaluate("""() => {
        const transfer = new DataTransfer();
        transfer.items.add(new File([new Uint8Array(20 * 2 ** 20 + 1)], "large.png", { type: "image/png" }));
        document.getElementById("drop").dispatchEvent(new DragEvent("drop", { bubbles: true, dataTransfer: transfer }));
    }""")
    expected = "large.png: the file has 20,971,521 bytes; expected at most 20,971,520; make it smaller"
    expect(answerless.get_by_role("alert")).to_have_text(expected)


def test_a_picture_is_answered_with_steps_and_evidence(page: Page, one_file: Path) -> None:
    page.set_viewport_size(PHONE)
    give(page, as_png(drawn(0)), "shirt.png")
    expect(page.locator("#busy")).to_have_text("")
    names = page.locator("#steps figcaption").all_inner_texts()
    assert names == ["photo", "garment alone", "cropped", "network's view", "where it looked"]
    assert page.eval_on_selector("#steps canvas", "(one) => one.width") == 28
    expect(page.locator("#time")).to_contain_text("ms on this device")
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert page.locator("#token-form").count() == 0


def test_a_newer_picture_stops_the_work_for_the_older(page: Page) -> None:
    """Only the last of three is computed, and only its evidence, of 169 passes, is."""
    passes = page.evaluate(
        """async () => {
            let passes = 0;
            const run = Network.prototype.run;
            Network.prototype.run = function (...given) { passes++; return run.apply(this, given); };
            const drawn = document.createElement("canvas");
            drawn.width = drawn.height = 100;
            drawn.getContext("2d").fillRect(30, 30, 40, 40);
            const blob = await new Promise((resolve) => { drawn.toBlob(resolve); });
            const asked = [1, 2, 3].map((one) => answerOf(blob, `${one}.png`, true));
            const [first, second, { value }] = await Promise.allSettled(asked);
            await value.answer.evidence;
            return [first.status, second.status, passes];
        }"""
    )
    assert passes == ["rejected", "rejected", 1 + 13**2]


def test_a_browser_that_changes_pixels_is_not_trusted(browser: Browser, one_file: Path) -> None:
    page = browser.new_page(bypass_csp=True)
    page.add_init_script(
        """const read = CanvasRenderingContext2D.prototype.getImageData;
        CanvasRenderingContext2D.prototype.getImageData = function (...given) {
            const pixels = read.apply(this, given);
            pixels.data[5] ^= 1;  // as a protection against fingerprinting does
            return pixels;
        };"""
    )
    page.goto(one_file.as_uri())
    give(page, as_png(drawn(0)), "garment.png")
    expect(page.get_by_role("alert")).to_contain_text("This browser changes the pixels that a page reads")
    expect(page.locator("#found")).to_be_hidden()
    page.close()


def test_a_drawing_is_answered_by_keyboard_alone(page: Page) -> None:
    for text in ("Draw one", "What is it?"):
        for _ in range(20):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.textContent") == text:
                break
        if text == "Draw one":
            page.keyboard.press("Enter")
            for key, times in (
                (" ", 1),
                ("ArrowUp", 6),
                ("ArrowLeft", 4),
                ("ArrowDown", 9),
                ("ArrowRight", 6),
                (" ", 1),
            ):
                for _ in range(times):
                    page.keyboard.press(key)
    page.keyboard.press("Enter")
    expect(page.locator("#found")).to_be_visible()
    assert page.evaluate("document.activeElement.id") == "verdict"


def test_a_browser_without_a_feature_says_which(browser: Browser, one_file: Path) -> None:
    page = browser.new_page()
    page.add_init_script("delete window.createImageBitmap; delete Object.hasOwn")  # Safari 14
    page.goto(one_file.as_uri())
    expect(page.locator("#served")).to_contain_text("tried: ")
    give(page, as_png(drawn(0)), "shirt.png")
    expect(page.get_by_role("alert")).to_have_text(
        "This browser lacks createImageBitmap; open this page in a newer one."
    )
    page.close()


def test_a_browser_of_2021_answers(browser: Browser, one_file: Path) -> None:
    """It lacks two functions, and takes no options for a picture, as Firefox before 93."""
    page = browser.new_page()
    page.add_init_script(
        """delete Object.hasOwn;
        delete Array.prototype.at;
        const read = window.createImageBitmap;
        window.createImageBitmap = async (...values) => {
            if (values.length === 2) throw new TypeError("2 is not a valid argument count for any overload");
            return read(...values);
        };"""
    )
    page.goto(one_file.as_uri())
    give(page, as_png(drawn(0)), "shirt.png")
    expect(page.locator("#found")).to_be_visible()
    expect(page.locator("#steps figcaption").last).to_have_text("where it looked")
    expect(page.locator("#steps canvas")).to_have_attribute("aria-label", re.compile("most at the"))
    page.close()


def test_a_picture_is_read_upright(answerless: Page) -> None:
    file, tags = io.BytesIO(), Image.Exif()
    tags[ExifTags.Base.Orientation] = 6  # its top is shown at the right
    Image.new("RGB", (60, 90), "white").save(file, "JPEG", exif=tags)
    way = Preparation("whole", 32, 3)
    turned, upright = (
        in_page(answerless, one, way) for one in (file.getvalue(), as_png(Image.new("RGB", (90, 60), "white")))
    )
    assert turned["image"] == upright["image"]


def test_a_picture_that_fails_otherwise_says_why(page: Page, tmp_path: Path) -> None:
    page.evaluate(
        """() => {
            window.createImageBitmap = async () => { throw new RangeError("too large for this browser"); };
        }"""
    )
    give(page, as_png(drawn(0)), "shirt.png")
    expect(page.get_by_role("alert")).to_have_text("shirt.png: too large for this browser")
    ask_for_a_deleted_file(page, tmp_path / "gone.png", as_png(drawn(0)))


def test_a_playwright_that_does_not_start_is_no_browser(tmp_path: Path) -> None:
    """As where its own program was built for another system. In a process of its own: it leaves a greenlet behind."""
    program = "from modiste.exports.browser import has_browser; print(has_browser())"
    done = run_python("-c", program, PLAYWRIGHT_NODEJS_PATH=str(tmp_path / "node"))
    assert (done.returncode, done.stdout) == (0, "False\n"), done.stderr


@pytest.mark.slow
@pytest.mark.usefixtures("browser")
def test_a_page_that_answers_otherwise_is_not_written(
    finished_run: Path, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = shutil.copytree(finished_run, tmp_path / "run")
    monkeypatch.setattr(onnx_graph, "SHORTENED", 1)
    monkeypatch.setattr(onnx_graph, "shortened", lambda values: (1.0, bytes(2 * values.size)))
    with pytest.raises(RunError, match="the html file answers otherwise than the run"):
        export.export(run, tmp_path / "bad.html", to="html", data_folder=tiny_folder)
    assert not (tmp_path / "bad.html").exists()


def test_without_a_browser_the_page_is_written_unchecked(
    one_file: Path,
    finished_run: Path,
    tiny_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    unchecked = replace(FORMATS["html"], can_read=lambda: False, write=lambda *_: one_file.read_bytes())
    monkeypatch.setitem(FORMATS, "html", unchecked)
    out = tmp_path / "page.html"
    run = shutil.copytree(finished_run, tmp_path / "run")
    main(["export", str(run), "--to", "html", "--out", str(out), "--data-folder", str(tiny_folder)])
    assert ABSENT in capsys.readouterr().out
    assert out.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert "not compared with the run" in out.with_name("page.html.md").read_text(encoding="utf-8")


def give(page: Page, content: bytes, name: str) -> None:
    page.set_input_files("#file", {"name": name, "mimeType": "image/png", "buffer": content})
