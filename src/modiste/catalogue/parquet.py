"""Parquet files: lists of paths, and shards of answers. Images in parquet: ``data.tables.parquet``."""

import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from modiste.errors import DataError, extra_for, fault, reason_of, shown
from modiste.inference.answers import FileAnswer

EXTRA = ("answers in parquet", "pyarrow", "parquet")
"""Arguments of ``extra_for``."""
PATH = "path"
"""Name of the column that holds paths, in lists and in shards."""
ROWS_AT_ONCE = 65_536
PLAN, NUMBER, CLASSES, NONE, REFUSED = (f"modiste.{name}" for name in ("plan", "shard", "classes", "none", "refused"))
"""Keys of a shard's metadata."""


class AnsweredRow(NamedTuple):
    """A row of a shard: the path as the list has it, and the answer."""

    path: str
    answer: FileAnswer


@dataclass(frozen=True)
class ShardFacts:
    """What the end of a shard's file says about the shard.

    Attributes:
        plan: Hash of the plan that the shard belongs to.
        number: Number of the shard.
        rows: Number of pictures.
        none: Number of pictures that show none of the classes.
        refused: Number of pictures that could not be read.
    """

    plan: str
    number: int
    rows: int
    none: int
    refused: int


def demand_package() -> None:
    """Raise MissingExtraError if pyarrow is not installed."""
    with extra_for(*EXTRA):
        import pyarrow.parquet  # noqa: F401


def read_paths(table: Path) -> Iterator[str]:
    """Yield the strings in the column ``path`` of a parquet file, a part of the file at a time.

    Raises:
        DataError: The file is damaged or no parquet file, has no such column, or a row has no path.
    """
    with extra_for(*EXTRA):
        import pyarrow
        import pyarrow.parquet
    try:
        with pyarrow.parquet.ParquetFile(table) as file:
            _check_column(table, file.schema_arrow)
            for batch in file.iter_batches(ROWS_AT_ONCE, columns=[PATH]):
                yield from _checked_paths(table, batch.column(0).to_pylist())
    except (OSError, pyarrow.ArrowException, ValueError, KeyError, IndexError) as error:
        found = reason_of(error).partition("\n")[0]
        raise fault(table, "unreadable", expected="a parquet file", found=shown(found)) from None


def _checked_paths(table: Path, paths: list[str | None]) -> Iterator[str]:
    for path in paths:
        if not path or "\0" in path:
            raise fault(table, "a row without a path", expected="a path", found="nothing", remedy="fill it")
        yield path


def shard_content(
    rows: Iterable[AnsweredRow], class_names: Sequence[str], plan: str, number: int, *, with_sets: bool = False
) -> bytes:
    """Return a shard as the content of a parquet file. The same rows give the same bytes.

    Columns: ``path``, ``answer`` (a class, or none), ``nearest`` (a class), ``probabilities`` (one of each class, in
    the order that the metadata state), ``novelty``, ``separated``, ``fault``; with sets also ``possible``, classes. A
    refused picture has only path and fault.
    """
    import pyarrow
    import pyarrow.parquet

    answered = list(rows)
    none = sum(row.answer.is_novel for row in answered)
    refused = sum(bool(row.answer.fault) for row in answered)
    metadata = {PLAN: plan, NUMBER: number, CLASSES: json.dumps(list(class_names)), NONE: none, REFUSED: refused}
    schema = _schema(metadata, with_sets=with_sets)  # which also chooses the columns
    table = pyarrow.Table.from_pylist([_plain(row, class_names) for row in answered], schema)
    sink = io.BytesIO()
    pyarrow.parquet.write_table(table, sink, compression="zstd", write_page_checksum=True)
    return sink.getvalue()


def read_facts(path: Path) -> ShardFacts | None:
    """Return the facts of a shard; None if there is no such file, or it is not a whole shard."""
    import pyarrow
    import pyarrow.parquet

    try:
        found = pyarrow.parquet.read_metadata(path)
        own = {key.decode(): value.decode() for key, value in (found.metadata or {}).items()}
        return ShardFacts(own[PLAN], int(own[NUMBER]), found.num_rows, int(own[NONE]), int(own[REFUSED]))
    except (OSError, pyarrow.ArrowException, KeyError, ValueError):
        return None


def _check_column(table: Path, schema: Any) -> None:
    """Raise DataError unless the column ``path`` holds strings."""
    names = list(schema.names)
    if names.count(PATH) != 1 or str(schema.field(PATH).type) not in ("string", "large_string", "string_view"):
        raise DataError(
            f"{shown(table)}: expected one column {PATH} of strings, found {shown(', '.join(names) or 'no column')}; "
            f"name the column {PATH}"
        )


def _plain(row: AnsweredRow, class_names: Sequence[str]) -> dict[str, Any]:
    answer = row.answer
    if answer.prepared is None:
        return {PATH: row.path, "fault": answer.fault}
    of_class = dict(answer.probabilities)
    return {
        PATH: row.path,
        "answer": answer.answer,
        "nearest": answer.nearest,
        "probabilities": [of_class[name] for name in class_names],
        "novelty": answer.novelty,
        "separated": answer.prepared.separated,
        "fault": None,
        "possible": list(answer.possible),
    }


def _schema(metadata: Mapping[str, object], *, with_sets: bool) -> Any:
    import pyarrow

    columns = {
        PATH: pyarrow.string(),
        "answer": pyarrow.string(),
        "nearest": pyarrow.string(),
        "probabilities": pyarrow.list_(pyarrow.float32()),
        "novelty": pyarrow.float32(),
        "separated": pyarrow.bool_(),
        "fault": pyarrow.string(),
        **({"possible": pyarrow.list_(pyarrow.string())} if with_sets else {}),
    }
    return pyarrow.schema(list(columns.items()), metadata={key: str(value) for key, value in metadata.items()})
