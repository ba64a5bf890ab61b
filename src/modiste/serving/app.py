"""The web application: predictions, a description of the model, probes, metrics, and the page."""

import asyncio
import base64
import binascii
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict
from importlib import resources
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from pydantic import ValidationError
from python_multipart.multipart import parse_options_header
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser

from modiste.errors import DataError, RunError, printable
from modiste.inference.onnx_model import COVERAGE, OnnxModel
from modiste.monitoring.reference import KEY
from modiste.serving import inference_protocol
from modiste.serving.api_page import api_page
from modiste.serving.batching import Batcher
from modiste.serving.gate import Gate
from modiste.serving.metrics import Metrics, Watch
from modiste.serving.schemas import (
    DRAWING,
    ModelResponse,
    PredictRequest,
    PredictResponse,
    demand_marks,
    faults,
    schema_of,
)
from modiste.serving.settings import LOOPBACK, Limits, ServerSettings
from modiste.serving.uploads import Studio, UploadedPicture
from modiste.version import __version__

MOST_MARKS = {",": 2**10, "[": 2**6, "{": 2**6, ":": 2**10}
"""Largest number of each mark in a request's JSON; base64 has none of them."""
MOST_LETTERS = 500
"""Length of an error message, which may quote the client."""
BLANKS = b" \t\r\n"
PAGE = {
    "/": "page.html",
    **{f"/{name}": name for name in ("page.css", "samples.js", "page.js", "server.js", "api.js", "icon.svg")},
}
NOT_SHOWN = ("class_names", KEY, COVERAGE)
"""Metadata that the description of the model leaves out: shown elsewhere, or long tables."""
KINDS = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


def create_app(
    model: OnnxModel,
    settings: ServerSettings | None = None,
    *,
    limits: Limits | None = None,
    warn: Callable[[str], object] = print,
) -> Gate:
    """Return the application that serves a model.

    Args:
        model: A network for square images, grey or in colour.
        settings: Who may use the server and how it answers, as ``ServerSettings.checked`` returns them; None for the
            defaults.
        limits: How much the server accepts.
        warn: Called with a line if the log cannot be written while the server runs.

    Raises:
        StorageError: The log cannot be written.
        RecipeError: The network's images are not square, or neither grey nor in colour; or they are whole pictures,
            and the settings' background finds garments; or the coverage is out of range.
        MissingExtraError, DataError: The segmentation network is not installed, or its file is another one.
        RunError: A class name cannot be written as UTF-8, or the file has no threshold for a coverage.
    """
    settings, limits, metrics = settings or ServerSettings(), limits or Limits(), Metrics(model.class_names)
    coverage = settings.coverage
    least = None if coverage is None else model.least_probability(coverage)
    preparation = model.preparation_with(None if settings.background == "trained" else settings.background)
    for name in model.class_names:
        if name != _utf8(name):
            raise RunError(f"class {name!r} cannot be written as UTF-8; expected a file that modiste export wrote")
    app = _new_app(model, settings.root_path)
    app.state.model, app.state.preparation = model, preparation
    app.state.coverage, app.state.least = coverage, least
    app.state.limits, app.state.metrics = limits, metrics
    app.state.watch = Watch(model, metrics, settings.log, warn)
    hosts = (*LOOPBACK, settings.host, *settings.allow_host)
    gate = Gate(app, limits, metrics, hosts, settings.token, settings.allow_origin, settings.root_path)
    app.state.gate = gate
    _add_routes(app)
    inference_protocol.add_routes(app)
    _add_page(app)
    _add_fault_handlers(app)
    return gate


def _new_app(model: OnnxModel, root_path: str) -> FastAPI:
    return FastAPI(
        title="Modiste",
        version=__version__,
        summary=f"Classifies pictures into {len(model.class_names)} classes.",
        lifespan=_lifespan,
        servers=[{"url": root_path}] if root_path else None,
        docs_url=None,  # both pages would load scripts from other hosts
        redoc_url=None,
        redirect_slashes=False,  # it would name the host and the scheme, which a proxy may have changed; see the gate
        separate_input_output_schemas=False,
    )


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    state = app.state
    state.batcher = Batcher(state.model, most=state.limits.batch, observe=state.metrics.batch.observe)
    state.studio = Studio(state.batcher, state.preparation, state.least)
    warming = asyncio.create_task(state.studio.warm_up())
    yield
    warming.cancel()
    await asyncio.gather(warming, return_exceptions=True)
    await state.studio.close()
    state.batcher.close()
    state.watch.close()


def _add_routes(app: FastAPI) -> None:
    @app.post("/v1/predict", response_model=PredictResponse, responses=faults(), openapi_extra=_body(app.state.limits))
    async def predict(
        request: Request,
        steps: Annotated[bool, Query(description="Return the picture after each step of the preparation.")] = False,
        explain: Annotated[bool, Query(description="Return where the network looked, for the first few.")] = False,
        drawing: Annotated[bool, Query(description=DRAWING)] = False,
    ) -> PredictResponse:
        """Classify pictures. A picture that cannot be read gets a fault instead of a class."""
        started = time.perf_counter()
        pictures, options = await _read(request, app.state.limits)
        explained = app.state.limits.explained if explain or options.explain else 0
        answers = await app.state.studio.answers(
            pictures, steps=steps or options.steps, explained=explained, drawn=drawing or options.drawing
        )
        app.state.watch.see_answers(answers)
        return PredictResponse(answers=answers, seconds=round(time.perf_counter() - started, 6))

    @app.get("/v1/model", response_model=ModelResponse, responses=faults(401, 421))
    async def model() -> ModelResponse:
        """Describe the model."""
        served: OnnxModel = app.state.model
        return ModelResponse(
            name=inference_protocol.model_name(served),
            classes=list(served.class_names),
            image_shape=list(served.image_shape),
            false_alarms=_share(served.metadata.get("false_alarms", "")),
            coverage=app.state.coverage,
            metadata={key: value for key, value in served.metadata.items() if key not in NOT_SHOWN},
            limits=asdict(app.state.limits),
        )

    @app.get("/livez", response_class=PlainTextResponse, responses=faults(421))
    async def live() -> str:
        """Return ok: the process answers."""
        return "ok"

    @app.get("/readyz", response_class=PlainTextResponse, responses=faults(421, 503))
    async def ready() -> str:
        """Return ok, or 503 when the server is about to stop."""
        if app.state.gate.draining:
            raise HTTPException(503, "about to stop")
        return "ok"

    @app.get("/metrics", response_class=PlainTextResponse, responses=faults(401, 421))
    async def count() -> Response:
        """Return the metrics for Prometheus."""
        return Response(app.state.metrics.text(), media_type="text/plain; version=0.0.4")


def _body(limits: Limits) -> dict[str, Any]:
    """Return the OpenAPI description of the body of a prediction request."""
    fields = schema_of(PredictRequest)
    fields["properties"]["images"]["maxItems"] = limits.pictures
    files = {
        "type": "array",
        "minItems": 1,
        "maxItems": limits.pictures,
        "items": {"type": "string", "format": "binary"},
        "description": "JPEG, PNG, WebP, HEIC, AVIF, TIFF, BMP, GIF or PPM files.",
    }
    form = {"type": "object", "required": ["images"], "properties": {"images": files}, "additionalProperties": False}
    content = {"multipart/form-data": {"schema": form}, "application/json": {"schema": fields}}
    return {"requestBody": {"required": True, "content": content}}


async def _read(request: Request, limits: Limits) -> tuple[list[UploadedPicture], PredictRequest]:
    """Return a request's pictures and options, from JSON or a form; HTTPException if it is neither."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json":
        body = await request.body()
        demand_marks(body, MOST_MARKS, f"send at most {limits.pictures} pictures")
        asked = PredictRequest.model_validate_json(body)
        if len(asked.images) > limits.pictures:
            raise HTTPException(422, f"images: expected at most {limits.pictures} pictures, found {len(asked.images)}")
        return [UploadedPicture(str(number), _decoded(image)) for number, image in enumerate(asked.images)], asked
    if kind == "multipart/form-data":
        return await _uploaded(request, limits), PredictRequest.model_construct(images=[])
    raise HTTPException(415, "expected multipart/form-data or application/json")


async def _uploaded(request: Request, limits: Limits) -> list[UploadedPicture]:
    _demand_utf8(request.headers["content-type"])
    parser = MultiPartParser(
        request.headers,
        request.stream(),
        max_files=limits.pictures + 1,
        max_fields=16,
        max_part_size=limits.body_bytes,
    )
    parser.spool_max_size = limits.body_bytes + 1  # keeps every picture in memory
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise HTTPException(400, error.message) from error
    files = form.getlist("images")
    if not files or any(not isinstance(file, UploadFile) for file in files) or set(form) != {"images"}:
        raise HTTPException(422, "expected files in the field images, and nothing else")
    if len(files) > limits.pictures:
        raise HTTPException(422, f"images: expected at most {limits.pictures} pictures")
    uploads = [file for file in files if isinstance(file, UploadFile)]
    return [UploadedPicture(file.filename or str(number), await file.read()) for number, file in enumerate(uploads)]


def _demand_utf8(content_type: str) -> None:
    """Raise HTTPException 415 if a form names a charset other than UTF-8.

    The parser would decode every text with that codec. Some codecs take hours for a few megabytes.
    """
    charset = parse_options_header(content_type)[1].get(b"charset", b"utf-8").decode("latin-1")
    if charset.lower() not in ("utf-8", "utf8"):
        raise HTTPException(415, "charset: expected utf-8, or a Content-Type without charset")


def _utf8(text: str) -> str:
    """Return a text with a question mark for each lone surrogate, which UTF-8 cannot encode."""
    return text.encode(errors="replace").decode()


def _decoded(image: str) -> bytes | None:
    """Return the bytes of a picture in base64, bare or as a data: URL; None if it is neither.

    Line ends and blanks are ignored.
    """
    if image[: len("data:")].lower() == "data:":
        kind, _, image = image.partition(",")
        if not kind.lower().endswith(";base64"):
            return None
    try:
        return base64.b64decode(image.encode().translate(None, BLANKS), validate=True)
    except (binascii.Error, ValueError):
        return None


def _share(text: str) -> float | None:
    """Return a number from 0 to 1 from a file's metadata; None if the text is not such a number."""
    try:
        share = float(text)
    except ValueError:
        return None
    return share if 0 <= share <= 1 else None


def _add_page(app: FastAPI) -> None:
    folder = resources.files("modiste.serving") / "page"
    for path, name in PAGE.items():
        content = (folder / name).read_bytes()
        kind = f"{KINDS[name.rpartition('.')[2]]}; charset=utf-8"

        async def page(content: bytes = content, kind: str = kind) -> Response:
            return Response(content, media_type=kind)

        app.add_api_route(path, page, include_in_schema=False)

    @app.get("/api", include_in_schema=False)
    async def describe() -> Response:
        return Response(api_page(app.openapi(), app.state.model.image_shape), media_type="text/html; charset=utf-8")


def _add_fault_handlers(app: FastAPI) -> None:
    """Answer every fault with the same JSON body, which reveals nothing of the program."""

    @app.exception_handler(HTTPException)
    async def refused(_: Request, error: HTTPException) -> JSONResponse:
        return JSONResponse({"error": printable(str(error.detail), MOST_LETTERS)}, error.status_code, error.headers)

    @app.exception_handler(DataError)
    async def unfit(_: Request, error: DataError) -> JSONResponse:
        return JSONResponse({"error": str(error)}, 422)

    @app.exception_handler(ValidationError)
    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: ValidationError | RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        return JSONResponse({"error": printable(f"{place or 'body'}: {first['msg']}", MOST_LETTERS)}, 422)

    @app.exception_handler(Exception)
    async def broken(_: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"error": "the server failed; its terminal shows more"}, 500)
