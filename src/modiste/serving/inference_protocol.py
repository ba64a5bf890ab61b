"""The routes of the Open Inference Protocol (KServe, version 2), so that clients of other servers work unchanged.

Images are uint8 tensors (N, C, H, W) as in the data set. Photos must be prepared by the client.
"""

import asyncio
import math
import re
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field
from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.routing import Match, Route
from starlette.types import Scope

from modiste.inference.onnx_model import OnnxModel
from modiste.serving.schemas import Body, demand_marks, faults, schema_of
from modiste.version import __version__

JSON_BYTES = "inference-header-content-length"
"""Header with the length of the JSON in a body, if tensors follow it as bytes."""
DATATYPES = {"float32": "FP32", "float64": "FP64", "uint8": "UINT8"}
VERSION = "1"
MOST_MARKS = {",": 2**18, "[": 2**15, "{": 2**8, ":": 2**10}
"""Largest number of each mark in a request's JSON. Larger tensors must be sent as bytes, which need no parsing."""
MOST_OUTPUTS = 64
MOST_DIGITS = 18
"""Digits of a length in a header."""
MOST_LETTERS = 100
"""Length of a model's name, which is part of a URL."""
INLINE_BYTES = 64 * 1024
"""Larger bodies are parsed in a thread, and their answers written there, so that the event loop stays free."""
MOST_LONG = 2**15 - 1
"""Largest length of a tensor's axis; the product of four such lengths still fits NumPy's 64-bit sizes."""
TAGS: list[str | Enum] = ["inference protocol"]


class Tensor(Body):
    """A tensor of a request; its data stand here, or as bytes after the JSON."""

    name: Literal["images"]
    shape: list[Annotated[int, Field(ge=0, le=MOST_LONG)]] = Field(min_length=4, max_length=4)
    datatype: Literal["UINT8"]
    parameters: dict[str, Any] = Field(default_factory=dict)
    data: list[Any] | None = None


class Wanted(Body):
    """A requested output."""

    name: str
    parameters: dict[str, Any] = Field(default_factory=dict)


class Readiness(Body):
    """Whether requests are accepted."""

    ready: bool


READY: dict[int | str, dict[str, Any]] = {
    200: {"model": Readiness},
    503: {"model": Readiness, "description": "The server is about to stop."},
}
"""OpenAPI descriptions of the answers of a route that says whether requests are accepted."""


class InferRequest(Body):
    """The JSON of an inference request."""

    id: str | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)
    inputs: list[Tensor] = Field(min_length=1, max_length=1)
    outputs: list[Wanted] = Field(default_factory=list, max_length=MOST_OUTPUTS)


class _Direct(Route):
    """A route that FastAPI describes but Starlette answers, which saves a fifth of the processor time of a request."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        match, found = super().matches(scope)
        return match, {**found, "route": self}  # FastAPI's routes set it too; requests are counted by it


def model_name(model: OnnxModel) -> str:
    """Return the name under which a model is asked for: its recipe's."""
    name = re.sub(r"[^A-Za-z0-9._-]", "-", model.metadata.get("recipe", ""))[:MOST_LETTERS]
    return name if name.strip(".") else "model"


def add_routes(app: FastAPI) -> None:
    """Add the protocol's routes to an application whose state holds a model, a gate and, once it runs, a batcher."""
    _add_server_routes(app)
    _add_model_routes(app)


def _add_server_routes(app: FastAPI) -> None:
    @app.get("/v2", tags=TAGS, responses=faults(401, 421))
    async def server() -> dict[str, Any]:
        """Describe the server."""
        return {"name": "modiste", "version": __version__, "extensions": ["binary_tensor_data"]}

    @app.get("/v2/health/live", tags=TAGS, responses=faults(421))
    async def live() -> dict[str, bool]:
        """Return that the process answers."""
        return {"live": True}

    @app.get("/v2/health/ready", tags=TAGS, responses=faults(421) | READY)
    async def ready() -> Response:
        """Return whether the server accepts requests; with status 503 when it is about to stop."""
        return _readiness(app)


def _add_model_routes(app: FastAPI) -> None:
    model: OnnxModel = app.state.model
    name = model_name(model)

    async def describe() -> dict[str, Any]:
        """Describe the model."""
        return {"name": name, "versions": [VERSION], "platform": "onnxruntime", **_tensors(model)}

    async def model_ready() -> Response:
        """Return whether the model answers; with status 503 when the server is about to stop."""
        return _readiness(app)

    async def infer(request: Request) -> Response:
        """Return the model's outputs for a tensor of images."""
        body, json_bytes = await request.body(), request.headers.get(JSON_BYTES)
        if len(body) <= INLINE_BYTES:
            asked, images = _read(body, json_bytes)
            outputs = await app.state.batcher.run(images)
            app.state.watch.see_outputs(outputs)
            return _response(name, asked, outputs)
        asked, images = await asyncio.to_thread(_read, body, json_bytes)
        outputs = await app.state.batcher.run(images)
        app.state.watch.see_outputs(outputs)
        return await asyncio.to_thread(_response, name, asked, outputs)

    body = {"required": True, "content": {"application/json": {"schema": schema_of(InferRequest)}}}
    refusals = faults(401, 421)
    posted: dict[str, Any] = {"responses": faults(), "openapi_extra": {"requestBody": body}}
    for path in (f"/v2/models/{name}", f"/v2/models/{name}/versions/{VERSION}"):
        app.add_api_route(path, describe, methods=["GET"], tags=TAGS, responses=refusals)
        app.add_api_route(f"{path}/ready", model_ready, methods=["GET"], tags=TAGS, responses=refusals | READY)
        app.add_api_route(f"{path}/infer", infer, methods=["POST"], tags=TAGS, **posted)
        app.router.routes.insert(0, _Direct(f"{path}/infer", infer, methods=["POST"]))


def _readiness(app: FastAPI) -> Response:
    is_ready = not app.state.gate.draining
    return JSONResponse({"ready": is_ready}, 200 if is_ready else 503)


def _tensors(model: OnnxModel) -> dict[str, Any]:
    """Return the description of a model's inputs and outputs."""
    columns = {"novelty": [-1]}
    return {
        "inputs": [{"name": "images", "datatype": "UINT8", "shape": [-1, *model.image_shape]}],
        "outputs": [
            {
                "name": name,
                "datatype": "FP64" if name == "novelty" else "FP32",
                "shape": columns.get(name, [-1, len(model.class_names)]),
            }
            for name in model.outputs
        ],
    }


def _read(body: bytes, json_bytes: str | None) -> tuple[InferRequest, np.ndarray]:
    """Return the request in a body, and its images; HTTPException or ValidationError if the body is malformed."""
    length = len(body) if json_bytes is None else _json_length(json_bytes, len(body))
    head = body[:length]
    demand_marks(head, MOST_MARKS, "send the tensor as bytes")
    asked = InferRequest.model_validate_json(head)
    return asked, _images(asked, body[length:])


def _json_length(json_bytes: str, most: int) -> int:
    is_number = json_bytes.isdecimal() and len(json_bytes) <= MOST_DIGITS
    if not is_number or int(json_bytes) > most:
        raise HTTPException(400, f"{JSON_BYTES}: expected a number of bytes within the body")
    return int(json_bytes)


def _images(asked: InferRequest, following: bytes) -> np.ndarray:
    """Return the images of a request. The batcher checks their shape."""
    (tensor,) = asked.inputs
    count = math.prod(tensor.shape)
    if "binary_data_size" in tensor.parameters:
        if tensor.parameters["binary_data_size"] != len(following) or len(following) != count:
            raise HTTPException(400, f"images: expected {count:,} bytes after the JSON, found {len(following):,}")
        return np.frombuffer(following, np.uint8).reshape(tensor.shape)
    values = list(_flat(tensor.data or [], 8))
    if len(values) != count or not all(type(value) is int and 0 <= value <= 255 for value in values):
        raise HTTPException(400, f"images: expected {count:,} whole numbers from 0 to 255, found {len(values):,}")
    return np.array(values, np.uint8).reshape(tensor.shape)


def _flat(values: list[Any], depth: int) -> Iterator[Any]:
    """Yield the numbers of nested lists, row by row; lists nested deeper than ``depth`` are yielded as they are."""
    for value in values:
        if isinstance(value, list) and depth:
            yield from _flat(value, depth - 1)
        else:
            yield value


def _response(name: str, asked: InferRequest, outputs: Mapping[str, np.ndarray]) -> Response:
    """Return the requested outputs as JSON, those that were requested as bytes after it."""
    wanted = {one.name: one.parameters for one in asked.outputs} or {key: dict[str, Any]() for key in outputs}
    unknown = sorted(set(wanted) - set(outputs))
    if unknown:
        raise HTTPException(400, f"no output {unknown[0]!r}; expected one of {', '.join(outputs)}")
    tensors, following = [], b""
    for key, parameters in wanted.items():
        values = outputs[key]
        tensor: dict[str, Any] = {"name": key, "shape": list(values.shape), "datatype": DATATYPES[str(values.dtype)]}
        if parameters.get("binary_data", asked.parameters.get("binary_data_output")):
            content = values.tobytes()
            tensor["parameters"] = {"binary_data_size": len(content)}
            following += content
        else:
            tensor["data"] = values.ravel().tolist()
        tensors.append(tensor)
    answer = {"model_name": name, "model_version": VERSION, "outputs": tensors}
    if asked.id is not None:
        answer["id"] = asked.id
    head = to_json(answer, inf_nan_mode="null")
    if not following:
        return Response(head, media_type="application/json")
    return Response(head + following, media_type="application/octet-stream", headers={JSON_BYTES: str(len(head))})
