"""Frozen dataclasses that check their fields, compare field by field, and convert to JSON's types and back."""

import difflib
import math
import types
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import Any, ClassVar, Literal, Union, get_args, get_origin, get_type_hints

from modiste.errors import RecipeError

LARGEST_EXACT = 2**53
"""Integers below this become floats without loss."""
LARGEST_SIZE = 2**63
"""Sizes and counts below this fit into torch's integers."""
MOST_NAME_LETTERS = 1000
"""Most characters of a class's name."""
CONTROL_CATEGORIES = ("Cc", "Cs", "Zl", "Zp")
"""Unicode categories of characters that control a terminal, end a line, or cannot be encoded."""
DIRECTION_CLASSES = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
"""Bidirectional classes of characters that change the direction of the text after them."""


@dataclass(frozen=True)
class Part:
    """Base of every dataclass in a recipe; construction checks the type of each field, then calls ``check``."""

    KIND: ClassVar[str] = ""
    """Name in plain data that distinguishes parts which may fill the same field, such as two networks."""

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for item in fields(self):
            value = fit(hints[item.name], getattr(self, item.name), item.name)
            object.__setattr__(self, item.name, value)
        self.check()

    def check(self) -> None:
        """Raise RecipeError for impossible values; subclasses override it."""

    def at_least(self, least: int, *names: str) -> None:
        """Raise RecipeError if one of these fields, or a number in it, is below ``least``."""
        for name, value in self._values(names):
            demand(all(number >= least for number in value), name, f"at least {least}", getattr(self, name))

    def at_most(self, most: int, *names: str) -> None:
        """Raise RecipeError if one of these fields, or a number in it, is above ``most``."""
        for name, value in self._values(names):
            demand(all(number <= most for number in value), name, f"at most {most}", getattr(self, name))

    def above_zero(self, *names: str) -> None:
        """Raise RecipeError unless these fields, or all numbers in them, are above 0."""
        for name, value in self._values(names):
            demand(all(number > 0 for number in value), name, "above 0", getattr(self, name))

    def below_one(self, *names: str) -> None:
        """Raise RecipeError unless these fields, or all numbers in them, are from 0 to below 1."""
        for name, value in self._values(names):
            demand(all(0 <= number < 1 for number in value), name, "from 0 to below 1", getattr(self, name))

    def _values(self, names: Iterable[str]) -> Iterator[tuple[str, tuple[float, ...]]]:
        for name in names:
            value = getattr(self, name)
            yield name, value if isinstance(value, tuple) else (value,)


def to_plain(value: Any) -> Any:
    """Return a part as dictionaries, lists, numbers and strings; its KIND, if any, is the first entry, ``kind``."""
    if isinstance(value, Part):
        plain = {item.name: to_plain(getattr(value, item.name)) for item in fields(value)}
        return {"kind": value.KIND, **plain} if value.KIND else plain
    return list(value) if isinstance(value, tuple) else value


def build(kind: Any, plain: Any, where: str = "") -> Any:
    """Return the part of type ``kind`` that plain data from ``to_plain`` describes.

    Args:
        kind: A subclass of ``Part``.
        plain: A dictionary of fields.
        where: Path of the part in the whole recipe, with a point at its end, for messages.

    Raises:
        RecipeError: Names the first field that is wrong.
    """
    demand(isinstance(plain, Mapping), where.rstrip(".") or "recipe", "a table of fields", plain)
    hints, names = get_type_hints(kind), [item.name for item in fields(kind)]
    values = {}
    for name, value in plain.items():
        if name not in names:
            raise RecipeError(f"{where}{name}: no such field; {nearest(name, names)}")
        values[name] = _build_field(hints[name], value, f"{where}{name}")
    for item in fields(kind):
        needed = item.default is MISSING and item.default_factory is MISSING
        demand(item.name in values or not needed, f"{where}{item.name}", "a value", "none", quoted=False)
    try:
        return kind(**values)
    except RecipeError as error:
        raise RecipeError(f"{where}{error}") from error


def differences(old: Part, new: Part) -> list[str]:
    """Return the fields in which two parts differ, as ``optimizer.learning_rate: 0.001 became 0.01``."""
    before, after = dict(flatten(to_plain(old))), dict(flatten(to_plain(new)))
    names = [*before, *(name for name in after if name not in before)]
    return [
        f"{name}: {before.get(name, 'nothing')} became {after.get(name, 'nothing')}"
        for name in names
        if before.get(name) != after.get(name)
    ]


def flatten(plain: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every value of nested dictionaries with its path, such as ``optimizer.learning_rate``."""
    for name, value in plain.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def nearest(name: str, names: Iterable[str]) -> str:
    """Return a hint for a message: the most similar of ``names``, or all of them if none is similar."""
    known = list(names)
    similar = difflib.get_close_matches(str(name), known, n=1)
    return f"did you mean {similar[0]!r}?" if similar else f"known: {', '.join(known)}"


def demand(holds: bool, name: str, expected: str, found: object, *, quoted: bool = True) -> None:
    """Raise RecipeError unless ``holds``; it names the field, what was expected and what was found.

    A text that was found is quoted, because it may be empty or anybody's; not if it is our own description.
    """
    if not holds:
        raise RecipeError(f"{name}: expected {expected}, found {repr(found) if quoted else found}")


def demand_known(value: Any, name: str, known: Iterable[str]) -> None:
    """Raise RecipeError unless ``value`` is one of the known ones; it names the field and the most similar of them."""
    choices = list(known)
    if value not in choices:
        raise RecipeError(f"{name}: {value!r} is unknown; {nearest(value, choices)}")


def each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the pairs of a JSON object as a dictionary; for ``json.loads``.

    Raises ValueError for a name that occurs twice, since readers differ in which of the values they take.
    """
    table = dict(pairs)
    if len(table) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} occurs twice")
    return table


def class_name(text: str) -> str:
    """Return a class's name with escapes for characters that control a terminal or the direction of text.

    Raises:
        RecipeError: The name has more than MOST_NAME_LETTERS characters.
    """
    expected = f"names of at most {MOST_NAME_LETTERS:,} characters"
    demand(len(text) <= MOST_NAME_LETTERS, "class_names", expected, len(text))
    return "".join(ascii(letter)[1:-1] if _is_control(letter) else letter for letter in text)


def _is_control(letter: str) -> bool:
    return unicodedata.category(letter) in CONTROL_CATEGORIES or unicodedata.bidirectional(letter) in DIRECTION_CLASSES


def fit(kind: Any, value: Any, name: str) -> Any:
    """Return ``value`` as type ``kind``; RecipeError if it does not fit.

    Lists become tuples, integers become floats, and NumPy's values become Python's.
    """
    if type(value).__module__ == "numpy" and hasattr(value, "tolist"):
        value = value.tolist()
    origin = get_origin(kind)
    if origin is Literal:
        demand_known(value, name, get_args(kind))
        return value
    if origin is tuple:
        return _fit_tuple(get_args(kind), value, name)
    if origin in (Union, types.UnionType):
        demand(isinstance(value, get_args(kind)), name, "a model recipe", value)
        return value
    if kind is float and type(value) is int and abs(value) < LARGEST_EXACT:
        value = float(value)
    demand(type(value) is kind, name, kind.__name__, value)
    demand(kind is not float or math.isfinite(value), name, "a finite number", value)
    is_size = kind is int and not name.endswith("seed")  # of seeds only a hash is used
    demand(not is_size or value < LARGEST_SIZE, name, f"at most {LARGEST_SIZE - 1}", value)
    return value


def _fit_tuple(kinds: tuple[Any, ...], value: Any, name: str) -> tuple[Any, ...]:
    demand(isinstance(value, list | tuple), name, "a list", value)
    if kinds[-1] is not Ellipsis:
        demand(len(value) == len(kinds), name, f"{len(kinds)} numbers", value)
    return tuple(fit(kinds[0], item, name) for item in value)


def _build_field(kind: Any, value: Any, where: str) -> Any:
    if get_origin(kind) in (Union, types.UnionType):
        demand(isinstance(value, Mapping), where, "a table of fields", value)
        choices = {choice.KIND: choice for choice in get_args(kind)}
        demand("kind" in value, f"{where}.kind", f"one of {', '.join(choices)}", "none", quoted=False)
        name, rest = str(value.get("kind")), {key: item for key, item in value.items() if key != "kind"}
        if name not in choices:
            raise RecipeError(f"{where}.kind: {name!r} is unknown; {nearest(name, choices)}")
        return build(choices[name], rest, f"{where}.")
    return build(kind, value, f"{where}.") if is_dataclass(kind) else value
