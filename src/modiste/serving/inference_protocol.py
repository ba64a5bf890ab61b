"""The routes of the Open Inference Protocol (KServe, version 2), so that clients made for other servers work unchanged.

Here images are bytes as the data set has them, (N, C, H, W), and no photos: whoever sends tensors has prepared them.
"""

import asyncio
import math
import re
from collections.abc import Iterator, Mapping
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
from modiste.serving.schemas import Wire, demand_marks, faults, schema_of
from modiste.version import __version__

JSON_BYTES = "inference-header-content-length"
"""Header that says how much of a body is JSON, where tensors follow it as bytes."""
DATATYPES = {"float32": "FP32", "float64": "FP64", "uint8": "UINT8"}
VERSION = "1"
MOST_MARKS = {",": 2**18, "[": 2**15, "{": 2**8, ":": 2**10}
"""In a request's JSON. A tensor with more numbers is sent as bytes, which need no parsing."""
MOST_OUTPUTS = 64
MOST_DIGITS = 18
"""Of a length in a header."""
MOST_LETTERS = 100
"""Of a model's name, which is a part of an address."""
INLINE_BYTES = 64 * 1024
"""Longer bodies are parsed, and longer answers written, beside the loop that serves everybody."""
MOST_LONG = 2**15 - 1
"""Along each axis of a tensor; four of them multiplied are still a number of bytes that NumPy can count."""
REFUSALS = faults(400, 401, 403, 408, 413, 421, 422, 503)


class Tensor(Wire):
    """A tensor of a request; its data are here, or bytes after the JSON."""

    name: Literal["images"]
    shape: list[Annotated[int, Field(ge=0, le=MOST_LONG)]] = Field(min_length=4, max_length=4)
    datatype: Literal["UINT8"]
    parameters: dict[str, Any] = Field(default_factory=dict)
    data: list[Any] | None = None


class Wanted(Wire):
    """An output that is wished for."""

    name: str
    parameters: dict[str, Any] = Field(default_factory=dict)


class InferRequest(Wire):
    """What an inference request says."""

    id: str | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)
    inputs: list[Tensor] = Field(min_length=1, max_length=1)
    outputs: list[Wanted] = Field(default_factory=list, max_length=MOST_OUTPUTS)


class _Direct(Route):
    """What FastAPI describes and Starlette alone answers: a fifth less of the processor's time for each request."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        match, found = super().matches(scope)
        return match, {**found, "route": self}  # as FastAPI's own routes say, by which requests are counted


def model_name(model: OnnxModel) -> str:
    """Return the name under which a model is asked for: its recipe's."""
    name = re.sub(r"[^A-Za-z0-9._-]", "-", model.metadata.get("recipe", ""))[:MOST_LETTERS]
    return name if name.strip(".") else "model"


def add_routes(app: FastAPI) -> None:
    """Add the protocol's routes to an application whose state holds a model and a batcher."""
    model: OnnxModel = app.state.model
    name = model_name(model)

    @app.get("/v2", tags=["inference protocol"])
    async def server() -> dict[str, Any]:
        """Describe the server."""
        return {"name": "modiste", "version": __version__, "extensions": ["binary_tensor_data"]}

    @app.get("/v2/health/live", tags=["inference protocol"])
    async def live() -> dict[str, bool]:
        """Tell that the process answers."""
        return {"live": True}

    @app.get("/v2/health/ready", tags=["inference protocol"], responses=REFUSALS)
    async def ready() -> Response:
        """Tell whether requests should be sent here."""
        is_ready = not app.state.gate.draining
        return JSONResponse({"ready": is_ready}, 200 if is_ready else 503)

    async def describe() -> dict[str, Any]:
        """Describe the model."""
        return {"name": name, "versions": [VERSION], "platform": "onnxruntime", **_tensors(model)}

    async def model_ready() -> Response:
        """Tell whether the model answers."""
        return await ready()

    async def infer(request: Request) -> Response:
        """Return the model's outputs for images of bytes."""
        body, json_bytes = await request.body(), request.headers.get(JSON_BYTES)
        if len(body) <= INLINE_BYTES:
            asked, images = _read(body, json_bytes)
            return _response(name, asked, await app.state.batcher.run(images))
        asked, images = await asyncio.to_thread(_read, body, json_bytes)
        outputs = await app.state.batcher.run(images)
        return await asyncio.to_thread(_response, name, asked, outputs)

    for place in (f"/v2/models/{name}", f"/v2/models/{name}/versions/{VERSION}"):
        options: dict[str, Any] = {"tags": ["inference protocol"], "responses": REFUSALS}
        app.add_api_route(place, describe, methods=["GET"], **options)
        app.add_api_route(f"{place}/ready", model_ready, methods=["GET"], **options)
        body = {"required": True, "content": {"application/json": {"schema": schema_of(InferRequest)}}}
        app.add_api_route(f"{place}/infer", infer, methods=["POST"], openapi_extra={"requestBody": body}, **options)
        app.router.routes.insert(0, _Direct(f"{place}/infer", infer, methods=["POST"]))


def _tensors(model: OnnxModel) -> dict[str, Any]:
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
    """Return what a body asks for, and its images; HTTPException or ValidationError where it is not as it must be."""
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
    """Return the one tensor that the model takes; its shape is looked at by whoever computes with it."""
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
    for value in values:
        if isinstance(value, list) and depth:
            yield from _flat(value, depth - 1)
        else:
            yield value


def _response(name: str, asked: InferRequest, outputs: Mapping[str, np.ndarray]) -> Response:
    wanted = {one.name: one.parameters for one in asked.outputs} or {key: dict[str, Any]() for key in outputs}
    unknown = sorted(set(wanted) - set(outputs))
    if unknown:
        raise HTTPException(400, f"no output {unknown[0]!r}; expected of {', '.join(outputs)}")
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
    told = {"model_name": name, "model_version": VERSION, "outputs": tensors}
    head = to_json(told if asked.id is None else {**told, "id": asked.id}, inf_nan_mode="null")
    if not following:
        return Response(head, media_type="application/json")
    return Response(head + following, media_type="application/octet-stream", headers={JSON_BYTES: str(len(head))})
