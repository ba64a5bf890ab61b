"""What goes over the wire: requests and answers, as the OpenAPI document describes them."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

Base64 = Annotated[
    str,
    Field(
        description="A JPEG, PNG, WebP, BMP or GIF file, in base64 (RFC 4648, section 4), with or without line ends, "
        "and with or without data:image/...;base64, before it."
    ),
]
PngUrl = Annotated[str, Field(description="A PNG as a data: URL.")]


class Wire(BaseModel):
    """Of every body; what nobody knows is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class PredictRequest(Wire):
    """Pictures to be classified."""

    images: list[Base64] = Field(min_length=1)
    steps: bool = Field(default=False, description="Show what each step of the preparation made of the picture.")
    explain: bool = Field(default=False, description="Show where the network looked, of the first few.")


class Step(Wire):
    """A picture on its way to the network."""

    name: str
    picture: PngUrl


class Answer(Wire):
    """What a picture is taken for; only its name and the fault when it could not be read."""

    name: str = Field(description="The file's, or the picture's number in the request.")
    fault: str | None = Field(default=None, description="Why there is no answer.")
    label: str | None = Field(default=None, description="The likeliest class.")
    probabilities: dict[str, float] = Field(default={}, description="Of each class, tempered, likeliest first.")
    novelty: float | None = Field(default=None, description="How unlike anything in training; above 1 no class's.")
    none_of_the_classes: bool | None = Field(default=None, description="Whether it is; null where nobody knows.")
    separated: bool | None = Field(default=None, description="Whether the garment was told from its background.")
    inverted: bool | None = Field(default=None, description="Whether light and dark were exchanged.")
    steps: list[Step] = []
    evidence: list[list[float]] = Field(
        default=[], description="Loss of the label's probability where the image is covered, row by row, -1 to 1."
    )


class PredictResponse(Wire):
    """An answer for each picture, in the order of the request."""

    answers: list[Answer]
    seconds: float = Field(description="That the server took.")


class ModelResponse(Wire):
    """What is served."""

    name: str
    classes: list[str]
    image_shape: list[int] = Field(description="Channels, height, width.")
    false_alarms: float | None = Field(description="Share of validation images told wrongly to be none of the classes.")
    metadata: dict[str, str] = Field(description="What the file says of itself.")
    limits: dict[str, float]


def schema_of(kind: type[BaseModel]) -> dict[str, Any]:
    """Return the JSON schema of a body, whole: what it refers to is written out where it is needed."""
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
    """Raise HTTPException where JSON has more of its marks than a table allows.

    A parser's time follows the values in a document, and that of its faults even more so: counted beforehand, eight
    megabytes of empty lists stop nobody.
    """
    for mark, limit in most.items():
        found = content.count(mark.encode())
        if found > limit:
            raise HTTPException(422, f"JSON: expected at most {limit:,} signs {mark!r}, found {found:,}; {remedy}")


class Fault(Wire):
    """Why a request was not answered."""

    error: str


FAULTS = {
    400: "The body is not what its content type says.",
    401: "The token is missing or wrong.",
    403: "The request comes from a page of another site.",
    408: "The body did not arrive in time.",
    413: "The body is too long.",
    415: "The content type is another.",
    421: "The server is not known by that name.",
    422: "The body misses something, or has too much.",
    503: "Too much to do, or about to stop; come again after Retry-After seconds.",
}


def faults(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe the faults of a route, all that there are if none is named."""
    return {status: {"model": Fault, "description": FAULTS[status]} for status in statuses or FAULTS}
