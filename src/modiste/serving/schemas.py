"""The bodies of requests and responses, as the OpenAPI document describes them."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

Base64 = Annotated[
    str,
    Field(
        description="A JPEG, PNG, WebP, HEIC, AVIF, TIFF, BMP, GIF or PPM file, in base64 (RFC 4648, section 4), with "
        "or without line ends, and with or without data:image/...;base64, before it."
    ),
]
DRAWING = "The pictures are drawings, which may be less like the training images before they belong to no class."
PngUrl = Annotated[str, Field(description="A PNG as a data: URL.")]


class Body(BaseModel):
    """Base of all request and response bodies; unknown fields are rejected."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class PredictRequest(Body):
    """Pictures to classify."""

    images: list[Base64] = Field(min_length=1)
    steps: bool = Field(default=False, description="Return the picture after each step of the preparation.")
    explain: bool = Field(default=False, description="Return where the network looked, for the first few pictures.")
    drawing: bool = Field(default=False, description=DRAWING)


class Step(Body):
    """The picture after one step of the preparation."""

    name: str
    picture: PngUrl


class Answer(Body):
    """The prediction for one picture; only its name and the fault if it could not be read."""

    name: str = Field(description="Name of the file, or the picture's number in the request.")
    fault: str | None = Field(default=None, description="Why there is no prediction.")
    label: str | None = Field(default=None, description="The likeliest class.")
    probabilities: dict[str, float] = Field(
        default={}, description="Calibrated probability of each class, likeliest first."
    )
    possible: list[str] = Field(
        default=[],
        description="Classes that hold the right one with the probability that the server's option --coverage states, "
        "likeliest first; empty without it, or if the picture belongs to no class.",
    )
    novelty: float | None = Field(
        default=None, description="Distance from the training images; above 1 the picture belongs to no class."
    )
    none_of_the_classes: bool | None = Field(
        default=None, description="Whether the picture belongs to no class; null if the model does not measure it."
    )
    separated: bool | None = Field(default=None, description="Whether the garment was separated from its background.")
    background: str | None = Field(
        default=None, description="How the garment was separated: plain or network; null if it was not, or need not be."
    )
    network: str | None = Field(
        default=None, description="Segmentation network that found the garment: U2-Net or built-in; null if none did."
    )
    doubt: str = Field(default="", description="Why the garment was not separated, or may be another; or empty.")
    inverted: bool | None = Field(default=None, description="Whether light and dark were exchanged.")
    steps: list[Step] = []
    evidence: list[list[float]] = Field(
        default=[], description="Loss of the label's probability where the image is covered, row by row, -1 to 1."
    )


class PredictResponse(Body):
    """An answer for each picture, in the order of the request."""

    answers: list[Answer]
    seconds: float = Field(description="Time that the server took.")


class ModelResponse(Body):
    """The model that is served."""

    name: str
    classes: list[str]
    image_shape: list[int] = Field(description="Channels, height, width.")
    false_alarms: float | None = Field(description="Share of validation images wrongly put in none of the classes.")
    coverage: float | None = Field(
        description="Probability that `possible` holds the right class, false alarms aside; null without sets."
    )
    metadata: dict[str, str] = Field(description="The metadata of the model file.")
    limits: dict[str, float]


def schema_of(kind: type[BaseModel]) -> dict[str, Any]:
    """Return the JSON schema of a body with every reference replaced by the schema it refers to."""
    whole = kind.model_json_schema()
    parts = whole.pop("$defs", {})

    def written_out(value: Any) -> Any:
        if isinstance(value, list):
            return [written_out(one) for one in value]
        if not isinstance(value, dict):
            return value
        if "$ref" in value:
            return written_out(parts[value["$ref"].rpartition("/")[2]])
        return {key: written_out(one) for key, one in value.items()}

    schema: dict[str, Any] = written_out(whole)
    return schema


def demand_marks(content: bytes, most: Mapping[str, int], remedy: str) -> None:
    """Raise HTTPException if JSON has more punctuation than a parser should be given.

    A parser's time grows with the number of values, and the time for its error messages grows faster. Counting first
    keeps eight megabytes of empty lists from blocking the server.

    Args:
        content: The JSON.
        most: The largest number of each mark, such as a comma.
        remedy: Advice that ends the error message.
    """
    for mark, limit in most.items():
        found = content.count(mark.encode())
        if found > limit:
            raise HTTPException(422, f"JSON: expected at most {limit:,} signs {mark!r}, found {found:,}; {remedy}")


class Fault(Body):
    """Why a request was not answered."""

    error: str


FAULTS = {
    400: "The body is not of its content type.",
    401: "The token is missing or wrong.",
    403: "The request comes from a page of another site.",
    408: "The body did not arrive in time.",
    413: "The body is too long.",
    415: "The content type, or the content encoding, is not supported.",
    421: "The host name is not allowed.",
    422: "The body lacks something, or has too much.",
    503: "The server is about to stop, or overloaded; if overloaded, try again after Retry-After seconds.",
}


def faults(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI descriptions of a route's faults; of all faults if no status is named."""
    return {status: {"model": Fault, "description": FAULTS[status]} for status in statuses or FAULTS}
