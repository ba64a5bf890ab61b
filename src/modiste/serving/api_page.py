"""The page that describes the server's addresses to people, made from its OpenAPI document; it works offline."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from math import prod
from typing import Any

from modiste.serving.schemas import FAULTS, Fault

ADDRESS = '<span class="address">http://127.0.0.1:8000</span>'
"""What the page replaces by the address that it was asked for."""
TITLE = "Modiste: the addresses of this server"
CURL = {
    "/v1/predict": "curl -F images=@shirt.jpg -F images=@boot.jpg 'ADDRESS/v1/predict?explain=true'",
    "infer": """curl -H 'Content-Type: application/json' ADDRESSPATH -d '
  {"inputs": [{"name": "images", "datatype": "UINT8", "shape": SHAPE, "data": [0, 0, ...]}]}'""",
}
"""Examples of requests with a body, by path or by its last part."""
PYTHON = {
    "/v1/predict": """import base64, json
from pathlib import Path
from urllib.request import Request, urlopen

pictures = [base64.b64encode(Path(name).read_bytes()).decode() for name in ("shirt.jpg", "boot.jpg")]
body = json.dumps({"images": pictures}).encode()
request = Request("ADDRESS/v1/predict", body, {"Content-Type": "application/json"})
for answer in json.load(urlopen(request))["answers"]:
    print(answer["name"], answer["fault"] or answer["label"], answer["probabilities"])""",
    "infer": """import json
from urllib.request import Request, urlopen

image = {"name": "images", "datatype": "UINT8", "shape": SHAPE, "data": [0] * SIZE}
body = json.dumps({"inputs": [image]}).encode()
request = Request("ADDRESSPATH", body, {"Content-Type": "application/json"})
for output in json.load(urlopen(request))["outputs"]:
    print(output["name"], output["data"])""",
}
GET_PYTHON = """from urllib.request import urlopen

print(urlopen("ADDRESSPATH").read().decode())"""
REFUSALS = {str(status): meaning for status, meaning in FAULTS.items()}
KINDS = {
    "number": "number",
    "integer": "whole number",
    "boolean": "true or false",
    "string": "text",
    "object": "object",
}


def api_page(document: Mapping[str, Any], image_shape: tuple[int, ...]) -> bytes:
    """Return a page in UTF-8: for each address what it is for, an example with curl and in Python, and all fields.

    Args:
        document: In OpenAPI, of the application.
        image_shape: (channels, height, width) of the network's images, for the examples.
    """
    parts = document.get("components", {}).get("schemas", {})
    sections = "".join(
        _section(method.upper(), path, route, parts, image_shape)
        for path, methods in document["paths"].items()
        for method, route in methods.items()
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{TITLE}</title>
<link rel="icon" href="icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="page.css">
<script src="api.js" defer></script>
</head>
<body>
<header><h1>{TITLE}</h1></header>
<main class="api">
<section class="card">
<p>This server answers on {ADDRESS}. <a href="./">Try it with a picture</a>, or read the same
<a href="openapi.json">for programs (OpenAPI)</a>.</p>
<p>If the server was started with a token, each request carries it: with curl by
<code>-H 'Authorization: Bearer TOKEN'</code>, in Python as one more header. The description for programs needs the
token too: a browser that follows the link above sends none, and shows a refusal. A request that is refused has the body
<code>{{"error": "..."}}</code>, and its status says why.</p>
</section>
{sections}<section class="card" id="refusals">
{_table("Statuses of refusals", list(REFUSALS.items()), ("status", "meaning"))}
</section>
</main>
</body>
</html>
""".encode()


def _section(method: str, path: str, route: Mapping[str, Any], parts: Mapping[str, Any], shape: tuple[int, ...]) -> str:
    """Return the part of the page about one address."""
    queries = [(one["name"], _kind(one["schema"]), one.get("description", "")) for one in route.get("parameters", [])]
    content = route.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    answer = route["responses"].get("200", {}).get("content", {}).get("application/json", {}).get("schema", {})
    refusals = [status for status, one in route["responses"].items() if status in REFUSALS and _is_fault(one)]
    return f"""<section class="card">
<h2><code>{method} {escape(path)}</code></h2>
<p>{escape(route.get("description", route.get("summary", "")))}</p>
{_examples(method, path, shape)}{_table("In the address, after ?", queries)}
{_table("In the body, as JSON", list(_fields(content, parts)))}
{_table("In the answer", list(_fields(answer, parts)))}
{f'<p>Refused with: <a href="#refusals">{", ".join(refusals)}</a></p>' if refusals else ""}
</section>
"""


def _is_fault(response: Mapping[str, Any]) -> bool:
    """Return whether a response has the body of refusals."""
    schema = response.get("content", {}).get("application/json", {}).get("schema", {})
    return str(schema.get("$ref", "")).endswith(f"/{Fault.__name__}")


def _examples(method: str, path: str, shape: tuple[int, ...]) -> str:
    """Return an example with curl and one in Python."""
    key = path if path in CURL else path.rpartition("/")[2]
    curl, python = (CURL[key], PYTHON[key]) if method == "POST" else ("curl ADDRESSPATH", GET_PYTHON)

    def filled(text: str) -> str:
        text = text.replace("SHAPE", str([1, *shape])).replace("SIZE", str(prod(shape)))
        # The path comes last: it holds a model's name, which may contain any of the other words.
        return escape(text, quote=False).replace("ADDRESS", ADDRESS).replace("PATH", escape(path, quote=False))

    return "".join(
        f"<figure><figcaption>{title}</figcaption>"
        f'<pre tabindex="0" role="region" aria-label="{title}">{filled(text)}</pre></figure>\n'
        for title, text in (("With curl", curl), ("In Python", python))
    )


def _fields(schema: Mapping[str, Any], parts: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield name, kind and meaning of each field of a JSON object, and of the objects inside it."""
    if "$ref" in schema:
        schema = parts[schema["$ref"].rpartition("/")[2]]
    for name, field in schema.get("properties", {}).items():
        yield before + name, _kind(field), field.get("description", "")
        inner = field.get("items", field)
        if "$ref" in inner or "properties" in inner:
            yield from _fields(inner, parts, f"{before}{name}{'[]' if 'items' in field else ''}.")


def _kind(schema: Mapping[str, Any]) -> str:
    """Return the kind of a value in words."""
    if "anyOf" in schema:
        return " or ".join("null" if one.get("type") == "null" else _kind(one) for one in schema["anyOf"])
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    return KINDS.get(schema.get("type", "object"), "object")


def _table(title: str, lines: Sequence[tuple[str, ...]], columns: Sequence[str] = ("name", "kind", "meaning")) -> str:
    """Return a table with a heading; nothing if it has no line."""
    if not lines:
        return ""
    cells = [(first, "".join(f"<td>{escape(one)}</td>" for one in rest)) for first, *rest in lines]
    body = "".join(f'<tr><th scope="row"><code>{escape(first)}</code></th>{rest}</tr>\n' for first, rest in cells)
    head = "".join(f'<th scope="col">{name}</th>' for name in columns)
    return f"<h3>{title}</h3>\n<table><thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table>"
