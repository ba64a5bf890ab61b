"""The page in a real browser: pictures dropped, pasted, picked, drawn; by keyboard alone; unreadable files; a token."""

import base64
import contextlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Error, Page, Route, expect
from server_process import Server, listening

import other_things
from chromium import ask_for_a_deleted_file
from modiste.photo.opening import FORMATS

PHONE, DESKTOP = {"width": 390, "height": 844}, {"width": 1200, "height": 900}
DROP = """([content, kind, event]) => {
    const transfer = new DataTransfer();
    transfer.items.add(new File([Uint8Array.from(atob(content), (one) => one.charCodeAt(0))], "given", { type: kind }));
    const options = { bubbles: true, cancelable: true, dataTransfer: transfer, clipboardData: transfer };
    document.getElementById("drop").dispatchEvent(new (event === "drop" ? DragEvent : ClipboardEvent)(event, options));
}"""


@pytest.fixture
def page(browser: Browser, server: Server) -> Iterator[Page]:
    """The page; nothing may be said on its console, nothing asked of anyone else."""
    page = browser.new_page(viewport=DESKTOP)
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: said.append(request.url) if foreign(request.url, server.url) else None)
    page.goto(server.url)
    yield page
    page.close()
    assert said == []


def foreign(url: str, own: str) -> bool:
    return not url.startswith((own, "data:", "blob:"))


def test_the_set_of_possible_classes_is_said(browser: Browser, stated: Server, photos: list[bytes]) -> None:
    with stated.client() as client:
        files = [("images", (f"{n}.png", one)) for n, one in enumerate(photos)]
        found = client.post("/v1/predict", files=files).json()["answers"]
    number, names = next((n, one["possible"]) for n, one in enumerate(found) if len(one["possible"]) > 1)
    page = browser.new_page()
    page.goto(stated.url)
    page.evaluate(DROP, [base64.b64encode(photos[number]).decode(), "image/png", "drop"])
    expect(page.locator("#doubt")).to_contain_text(f"It may be {', '.join(names[:-1])} or {names[-1]}.")
    page.close()


@pytest.mark.parametrize("event", ["drop", "paste"])
def test_a_picture_is_answered(page: Page, photos: list[bytes], server: Server, event: str) -> None:
    page.evaluate(DROP, [base64.b64encode(photos[0]).decode(), "image/png", event])
    expect(page.locator("#found")).to_be_visible()
    with server.client() as client:
        (expected,) = client.post("/v1/predict", files={"images": photos[0]}).json()["answers"]
    rows = page.locator("#bars tr")
    expect(rows).to_have_count(10)
    shown = [row.inner_text().split("\t") for row in rows.all()]
    assert [row[0] for row in shown] == list(expected["probabilities"])
    assert [row[-1] for row in shown] == [f"{100 * share:.1f} %" for share in expected["probabilities"].values()]
    widths = page.eval_on_selector_all(".fill", "all => all.map((one) => one.getBoundingClientRect().width)")
    assert widths == sorted(widths, reverse=True)
    names = page.locator("#steps figcaption").all_inner_texts()
    assert names == ["photo", "garment alone", "cropped", "network's view", "where it looked"]
    expect(page.locator("#verdict")).to_contain_text(
        "None of the 10" if expected["none_of_the_classes"] else expected["label"]
    )
    expect(page.locator("#time")).to_contain_text("ms on the server")
    looked = page.locator("#steps canvas")
    expect(looked).to_have_attribute(
        "aria-label", re.compile(rf"Where the network looked to say {expected['label']}: most at the (upper|lower) ")
    )


def test_evidence_of_a_large_image_is_drawn_and_a_fault_of_it_leaves_the_answer(page: Page) -> None:
    page.evaluate(
        """async (side) => {
            const drawn = document.createElement("canvas");
            drawn.width = drawn.height = side;
            const rows = Array.from({ length: side }, () => new Array(side).fill(0.1));
            const answer = { label: "Coat", probabilities: { Coat: 0.8, Bag: 0.2 }, separated: true };
            answer.steps = [{ name: "seen", picture: drawn.toDataURL() }];
            window.answerOf = async () => ({ answer: { ...answer, evidence: rows }, time: "now" });
            await ask(null, "large.png");
            window.drawnSide = document.querySelector("#steps canvas").width;
            const evidence = Promise.reject(new Error("too hot"));
            window.answerOf = async () => ({ answer: { ...answer, evidence }, time: "now" });
            await ask(null, "large.png");
        }""",
        600,
    )
    assert page.evaluate("window.drawnSide") == 600
    expect(page.locator("#verdict")).to_have_text("Coat, 80.0 %")
    expect(page.locator("#steps figcaption").last).to_have_text("where it looked: cannot be drawn (too hot)")


def test_a_newer_picture_ends_the_request_for_the_older(page: Page, photos: list[bytes]) -> None:
    ended, held = list[str](), list[Route]()
    page.on("requestfailed", lambda request: ended.append(request.url.partition("?")[0].rpartition("/")[2]))
    page.route("**/v1/predict*", lambda route: held.append(route), times=1)  # the first one waits for ever
    with page.expect_request("**/v1/predict*"):
        page.set_input_files("#file", {"name": "old.png", "mimeType": "image/png", "buffer": photos[0]})
    page.set_input_files("#file", {"name": "new.png", "mimeType": "image/png", "buffer": photos[1]})
    expect(page.locator("#found")).to_be_visible()
    assert ended == ["predict"]
    expect(page.get_by_role("alert")).to_be_hidden()
    with contextlib.suppress(Error):  # of a request that has ended
        held[0].abort()


def test_a_file_that_the_server_would_refuse_is_not_sent(page: Page, server: Server) -> None:
    with server.client() as client:
        most = int(client.get("/v1/model").json()["limits"]["body_bytes"])
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    expect(page.locator("#served")).to_contain_text("sprint")
    page.evaluate("(size) => askFirst([new File([new Uint8Array(size)], 'raw.jpg')])", most + 2**20)
    expect(page.get_by_role("alert")).to_contain_text("raw.jpg has 9.0 MiB; this server takes at most 8.0 MiB")
    assert not [url for url in asked if "predict" in url]


def test_a_file_that_is_gone_is_no_fault_of_the_server(page: Page, photos: list[bytes], tmp_path: Path) -> None:
    ask_for_a_deleted_file(page, tmp_path / "gone.png", photos[0])


def test_one_pointer_draws_at_a_time_and_a_mouse_by_its_main_button(page: Page) -> None:
    page.get_by_role("button", name="Draw one").click()
    page.locator("#sheet").click(button="right")
    page.get_by_role("button", name="What is it?").click()
    expect(page.get_by_role("alert")).to_contain_text("The sheet is empty")
    box = page.locator("#sheet").bounding_box()
    assert box
    touches = page.context.new_cdp_session(page)

    def touch(kind: str, *places: tuple[float, float]) -> None:
        points = [
            {"x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"], "id": number}
            for number, (x, y) in enumerate(places)
        ]
        touches.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", (0.2, 0.2))
    touch("touchStart", (0.2, 0.2), (0.8, 0.2))
    touch("touchMove", (0.2, 0.8), (0.8, 0.8))
    touch("touchEnd")
    are_dark = """(sheet, places) => {
        const { data, width, height } = sheet.getContext("2d").getImageData(0, 0, sheet.width, sheet.height);
        return places.map(([x, y]) => data[4 * (Math.floor(y * height) * width + Math.floor(x * width))] < 128);
    }"""
    of_first, of_second, between = [0.2, 0.5], [0.8, 0.5], [0.5, 0.8]
    assert page.locator("#sheet").evaluate(are_dark, [of_first, of_second, between]) == [True, False, False]


def test_long_names_stay_on_a_phone(page: Page) -> None:
    page.set_viewport_size(PHONE)
    page.evaluate(
        """async () => {
            const names = ["Women's long-sleeved shirts and blouses of cotton", "name_".repeat(60), "Bag"];
            const probabilities = Object.fromEntries(names.map((name) => [name, 1 / 3]));
            const step = { name: "seen", picture: document.getElementById("sheet").toDataURL() };
            const answer = { label: names[0], probabilities, separated: true, steps: [step], evidence: [[0.1]] };
            window.answerOf = async () => ({ answer, time: "now" });
            await ask(null, "a.png");
        }"""
    )
    expect(page.locator("#found")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert page.eval_on_selector(".track", "(one) => one.getBoundingClientRect().width") > 30


def test_a_file_that_is_no_picture_gets_a_readable_message(page: Page, photos: list[bytes]) -> None:
    page.set_input_files("#file", {"name": "letter.jpg", "mimeType": "image/jpeg", "buffer": b"Dear Sir"})
    expect(page.get_by_role("alert")).to_have_text(f"letter.jpg: not a readable image; expected {', '.join(FORMATS)}")
    expect(page.locator("#found")).to_be_hidden()
    page.set_input_files("#file", {"name": "boot.png", "mimeType": "image/png", "buffer": photos[0]})
    expect(page.locator("#found")).to_be_visible()
    expect(page.get_by_role("alert")).to_be_hidden()


def test_a_drawing_is_answered(page: Page) -> None:
    page.get_by_role("button", name="Draw one").click()
    page.get_by_role("button", name="What is it?").click()
    expect(page.get_by_role("alert")).to_contain_text("The sheet is empty")
    box = page.locator("#sheet").bounding_box()
    assert box
    page.locator("#width").fill("60")
    for x in (0.35, 0.65):  # two legs
        page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.2 * box["height"])
        page.mouse.down()
        page.mouse.move(box["x"] + x * box["width"], box["y"] + 0.85 * box["height"], steps=10)
        page.mouse.up()
    page.get_by_role("button", name="What is it?").click()
    expect(page.locator("#found")).to_be_visible()
    expect(page.locator("#bars th").first).to_have_text("Trouser")


def test_the_keyboard_is_enough(page: Page) -> None:
    def walk_to(text: str) -> None:
        for _ in range(20):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.textContent") == text:
                return
        raise AssertionError(f"{text} is out of reach")

    walk_to("Draw one")
    page.keyboard.press("Enter")
    expect(page.locator("#pen")).to_be_hidden()
    for key, times in ((" ", 1), ("ArrowUp", 6), ("ArrowLeft", 4), ("ArrowDown", 9), ("ArrowRight", 6), (" ", 1)):
        for _ in range(times):
            page.keyboard.press(key)
        assert "down" in (page.locator("#pen").get_attribute("class") or "") or key == " "
    expect(page.locator("#pen-state")).to_have_text("Pen up")
    expect(page.locator("#pen")).to_be_visible()
    walk_to("What is it?")
    page.keyboard.press("Enter")
    expect(page.locator("#found")).to_be_visible()
    assert page.evaluate("document.activeElement.id") == "verdict"


def test_it_fits_a_phone_and_every_control_has_a_name(page: Page, photos: list[bytes]) -> None:
    page.set_viewport_size(PHONE)
    page.set_input_files("#file", {"name": "boot.png", "mimeType": "image/png", "buffer": photos[0]})
    page.get_by_role("button", name="Draw one").click()
    expect(page.locator("#found")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    nameless = """all => all.filter((one) => one.getBoundingClientRect().height && one.tabIndex >= 0
        && !(one.textContent.trim() || one.ariaLabel || one.labels?.length)).map((one) => one.outerHTML)"""
    assert page.eval_on_selector_all("button, input, canvas, a", nameless) == []
    heights = page.eval_on_selector_all("button", "all => all.map((one) => one.offsetHeight).filter(Boolean)")
    assert min(heights) >= 44  # a finger's width


def test_it_asks_for_the_token(browser: Browser, model_file: Path, photos: list[bytes]) -> None:
    with listening(model_file, MODISTE_TOKEN="a-long-enough-token") as server:
        page = browser.new_page()
        page.goto(server.url)
        field = page.get_by_label("This server asks for a token.")
        for wrong, fault in (("another-long-token", "does not take this token"), ("“quoted”-token", "ASCII alone")):
            field.fill(wrong)
            page.keyboard.press("Enter")
            expect(page.get_by_role("alert")).to_contain_text(fault)
            expect(field).to_be_focused()
        field.fill("a-long-enough-token")
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_be_hidden()
        expect(page.locator("#token-form")).to_be_hidden()
        expect(page.locator("#served")).to_contain_text("sprint: T-shirt/top")
        page.set_input_files("#file", {"name": "boot.png", "mimeType": "image/png", "buffer": photos[0]})
        expect(page.locator("#found")).to_be_visible()
        page.close()


def test_a_server_that_is_gone_is_told(browser: Browser, model_file: Path, photos: list[bytes]) -> None:
    with listening(model_file) as server:
        page = browser.new_page()
        page.goto(server.url)
        expect(page.locator("#served")).to_contain_text("sprint")
        server.process.kill()
        page.set_input_files("#file", {"name": "boot.png", "mimeType": "image/png", "buffer": photos[0]})
        expect(page.get_by_role("alert")).to_have_text("The server does not answer; is it still running?")
        page.close()


def test_bars_of_none_of_the_classes_are_grey_and_say_if(page: Page, server: Server) -> None:
    random = np.random.default_rng(0)
    with server.client() as client:
        pictures = (other_things.as_file(make(random)) for make in other_things.MAKERS.values() for _ in range(4))
        for stranger in pictures:
            (answer,) = client.post("/v1/predict", files={"images": stranger}).json()["answers"]
            if answer["none_of_the_classes"]:
                break
        else:
            raise AssertionError("no picture is none of the classes")
    page.set_input_files("#file", {"name": "other.png", "mimeType": "image/png", "buffer": stranger})
    expect(page.locator("#verdict")).to_have_text("None of the 10 classes")
    expect(page.locator("#likely")).to_have_text("If it were one of them")
    shown = page.locator("#bars .fill").first
    grey = shown.evaluate("(one) => getComputedStyle(one).backgroundColor")
    page.locator("#samples button", has_text="Trouser").click()
    expect(page.locator("#likely")).to_have_text("How likely each is")
    assert shown.evaluate("(one) => getComputedStyle(one).backgroundColor") != grey


def test_drawings_to_try_are_asked_as_drawings(page: Page) -> None:
    expect(page.locator("#ask-title")).to_have_text("Show a garment")
    expect(page.locator("#samples button")).to_have_count(10)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.locator("#samples button", has_text="Trouser").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#verdict")).to_contain_text("Trouser")
    assert [url.partition("?")[2] for url in asked if "/v1/predict" in url] == ["steps=true&explain=true&drawing=true"]


def test_the_page_about_the_addresses_has_each_with_examples(page: Page, server: Server) -> None:
    page.get_by_role("link", name="API").click()
    expect(page).to_have_title("Modiste: the addresses of this server")
    with server.client() as client:
        described = client.get("/openapi.json").json()["paths"]
    titles = page.locator("h2").all_inner_texts()
    assert titles == [f"{method.upper()} {path}" for path, methods in described.items() for method in methods]
    page.set_viewport_size(PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    rows = page.locator("section", has_text="POST /v1/predict").locator("table code").all_inner_texts()
    assert {"images", "drawing", "answers[].label", "answers[].steps[].picture"} <= set(rows)
    assert "422" in page.locator("#refusals code").all_inner_texts()


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_the_examples_of_the_addresses_run(page: Page, server: Server, photos: list[bytes], tmp_path: Path) -> None:
    for name in ("shirt.jpg", "boot.jpg"):
        (tmp_path / name).write_bytes(photos[0])
    environment = {**os.environ, "NO_PROXY": "*", "no_proxy": "*"}
    page.goto(f"{server.url}/api")
    examples = page.locator("pre").all_inner_texts()
    assert len(examples) == 2 * page.locator("h2").count()
    for example in examples:
        assert server.url in example
        kind = [sys.executable, "-c"] if "import" in example else ["bash", "-c"]
        if "..." not in example:  # numbers that stand for more
            command = [*kind, example]
            done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
            assert done.stdout, example
            assert '{"error"' not in done.stdout, example
