"""A server behind other addresses: pages of named sites (CORS), and a path of a proxy."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx2
import pytest
from playwright.sync_api import Browser
from server_process import Server, listening

from modiste.errors import RecipeError
from modiste.serving.settings import allowed_origin, allowed_root

SHOP, TOKEN = "https://shop.example", "a token of the tests"
QUESTION = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}
CORS = "access-control-allow-origin"


@pytest.fixture(scope="module")
def shared(model_file: Path) -> Iterator[Server]:
    """A server for the pages of a shop, under a path; requests need a token."""
    options = ("--allow-origin", SHOP, "http://localhost:81", "--root-path", "/clothes/", "--token", TOKEN)
    with listening(model_file, *options) as server:
        yield server


@pytest.fixture
def client(shared: Server) -> Iterator[httpx2.Client]:
    with shared.client() as client:
        yield client


def test_a_browser_may_ask_first_without_the_token(client: httpx2.Client) -> None:
    answer = client.options("/clothes/v1/predict", headers={"Origin": SHOP, **QUESTION})
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers[CORS] == SHOP
    assert "POST" in answer.headers["access-control-allow-methods"].split(", ")
    assert {"authorization", "content-type"} <= set(answer.headers["access-control-allow-headers"].split(", "))
    assert answer.headers["vary"] == "origin"
    assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize(
    "origin", ["https://shop.example.org", "http://shop.example", "https://SHOP.example", "null", "*", ""]
)
def test_other_pages_are_refused(client: httpx2.Client, origin: str) -> None:
    for answer in (
        client.options("/v1/predict", headers={"Origin": origin, **QUESTION}),
        client.post("/v1/predict", headers={"Origin": origin, "Authorization": f"Bearer {TOKEN}"}, json={}),
    ):
        assert answer.status_code == 403
        assert CORS not in answer.headers
    assert CORS not in client.get("/livez", headers={"Origin": origin}).headers


def test_the_page_of_a_shop_sends_pictures_and_reads_answers(client: httpx2.Client) -> None:
    sent = {"json": {"images": ["QQ=="]}}
    answer = client.post("/v1/predict", headers={"Origin": SHOP, "Authorization": f"Bearer {TOKEN}"}, **sent)
    assert (answer.status_code, answer.headers[CORS]) == (200, SHOP)
    refused = client.post("/v1/predict", headers={"Origin": SHOP}, **sent)
    assert (refused.status_code, refused.headers[CORS]) == (401, SHOP)
    assert client.get("/livez").headers["vary"] == "origin"  # a cache may not give one site's answer to another


def test_an_allowed_page_does_not_allow_another_host(client: httpx2.Client) -> None:
    assert client.options("/v1/predict", headers={"Host": "shop.example", "Origin": SHOP}).status_code == 421


def test_a_path_of_a_proxy_may_be_there_or_not(client: httpx2.Client) -> None:
    assert "<html" in client.get("/clothes/").text
    assert "<html" in client.get("/").text
    bare = client.get("/clothes")
    assert (bare.status_code, bare.headers["location"]) == (308, "/clothes/")
    assert client.get("/clothes/readyz").text == "ok"
    named = {"Authorization": f"Bearer {TOKEN}"}
    assert client.get("/clothes/v1/model", headers=named).status_code == 200
    assert client.get("/clothes/v1/model").status_code == 401
    assert client.get("/clothesline", headers=named).status_code == 404
    assert client.get("/clothes/openapi.json", headers=named).json()["servers"] == [{"url": "/clothes"}]


@pytest.mark.parametrize("root", ["", "/clothes"])
def test_a_slash_too_many_leads_to_the_same_place_on_the_same_site(client: httpx2.Client, root: str) -> None:
    """Neither the scheme nor the host nor the path before it: a proxy with TLS has other ones."""
    for path, there in (
        ("/v1/model/?a=b&c", "../model?a=b&c"),
        ("/v1/mod%C3%A9l/", "../mod%C3%A9l"),
        ("/livez%2F", "../livez"),
    ):
        answer = client.get(root + path)
        assert (answer.status_code, answer.headers["location"]) == (308, there)
    followed = client.post(f"{root}/v1/predict/", follow_redirects=True, headers={"Authorization": f"Bearer {TOKEN}"})
    assert (followed.status_code, followed.url.path) == (415, f"{root}/v1/predict")


@contextmanager
def web_page(folder: Path) -> Iterator[str]:
    """Serve a folder on this machine; the address is another origin than the server's."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=folder)) as files:
        threading.Thread(target=files.serve_forever, daemon=True).start()
        yield f"http://localhost:{files.server_address[1]}"
        files.shutdown()


def test_a_real_browser_lets_the_named_page_read_the_answer(
    browser: Browser, shared: Server, model_file: Path, tmp_path: Path
) -> None:
    """And no other: the server of the shop's pages does not name it."""
    (tmp_path / "page.html").write_text("<!doctype html><title>a shop</title>")
    ask = """([url, token]) => fetch(`${url}/v1/predict`, {
        method: "POST",
        headers: { "content-type": "application/json", authorization: `Bearer ${token}` },
        body: JSON.stringify({ images: ["QQ=="] }),
    }).then((answer) => answer.status, (error) => error.name)"""
    with web_page(tmp_path) as origin, listening(model_file, "--token", TOKEN, "--allow-origin", origin) as server:
        page = browser.new_page()
        page.goto(f"{origin}/page.html")
        found = [page.evaluate(ask, [one.url, TOKEN]) for one in (server, shared)]
        page.close()
    assert found == [200, "TypeError"]


@pytest.mark.parametrize(
    ("given", "origin"),
    [
        ("https://Shop.Example", SHOP),
        ("HTTPS://shop.example:443", SHOP),
        ("http://localhost:3000", "http://localhost:3000"),
        ("http://[::1]:80", "http://[::1]"),
    ],
)
def test_an_origin_is_written_as_browsers_write_it(given: str, origin: str) -> None:
    assert allowed_origin(given) == origin


@pytest.mark.parametrize(
    "given",
    [
        *("*", "null", "", "shop.example", "ftp://shop.example", "https://", "https://*.shop.example"),
        *("https://shop.example/", "https://shop.example/page", "https://me@shop.example", "https://shop.example:port"),
        *("https://shop.example#a", "https://shop.example:99999", "https://[shop"),
    ],
)
def test_what_is_no_origin(given: str) -> None:
    with pytest.raises(RecipeError, match=r"--allow-origin .*: expected the scheme and host of one site"):
        allowed_origin(given)


def test_a_root_path() -> None:
    assert [allowed_root(path) for path in ("", "/", "/clothes", "/a/b.c/")] == ["", "", "/clothes", "/a/b.c"]
    for path in ("clothes", "/a b", "/a//b", "/a?b", "https://shop.example/a", "/../%"):
        with pytest.raises(RecipeError, match=r"--root-path .*: expected a path such as /clothes"):
            allowed_root(path)
