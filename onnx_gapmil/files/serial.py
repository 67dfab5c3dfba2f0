"""Typed values as JSON types and back: one rule for every result that lies in a file.

A dataclass is an object with its fields in their order, a tuple a list, a mapping an object. Two things are said in the
field's annotation: ``Annotated[float, JsonKey("iou_0.3")]`` has a key that no attribute can have, and
``Annotated[Part, FLAT]`` puts the keys of a dataclass among those of the one that holds it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import sys
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

from onnx_gapmil.errors import InputError
from onnx_gapmil.files.memory import shared
from onnx_gapmil.files.mirroring import local_path
from onnx_gapmil.files.urls import said, without_secrets

T = TypeVar("T")
_PLAIN = frozenset({str, int, float, bool, type(None)})


@dataclass(frozen=True)
class JsonKey:
    """The JSON key of a field whose name is another."""

    name: str


class Flat:
    """See `FLAT`."""


FLAT: Final = Flat()
"""Marks a field, a dataclass itself, whose keys stand among those around it."""


def to_json(value: object) -> Any:
    """A value as JSON types; numbers that are not finite stay as they are.

    Args:
        value: a dataclass, mapping, tuple, list, path, text, number, truth value or None, of any depth.

    Raises:
        TypeError: there is something else in it, such as an array.
    """
    if isinstance(value, str):
        return without_secrets(value)
    if value is None or isinstance(value, int | float):
        return value
    if isinstance(value, tuple | list):
        return [item if type(item) in _PLAIN else to_json(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dict(_items(value))
    if isinstance(value, Path):
        return said(value)
    raise TypeError(f"{value!r} of type {type(value).__name__} has no JSON form")


def _items(value: Any) -> Iterator[tuple[str, Any]]:
    kind: Any = type(value)
    for field in _fields(kind):
        item = getattr(value, field.name)
        if field.flat:
            yield from _items(item)
        else:
            yield field.key, to_json(item)


def from_json(kind: type[T], value: object) -> T:
    """The typed value that `to_json` wrote. Strict: all keys, no others, and no conversion but of whole floats.

    Args:
        kind: a dataclass whose fields are dataclasses, mappings by text, tuples, `Literal`, paths, text, numbers, truth
            values or None, or unions of those.
        value: parsed JSON.

    Raises:
        ValueError: it does not fit, and where.
    """
    # Nearly all values fit: only one that does not is walked again for the sentence on what is wrong with it.
    hashable: Any = kind
    try:
        quick: T = _reader(hashable)(value)
    except _MisfitError:
        read: T = _read(kind, value, kind.__name__)
        return read
    return quick


class _MisfitError(Exception):
    """A value is not of its kind."""


@functools.cache
def _reader(kind: Any) -> Callable[[Any], Any]:
    """What reads values of a kind as `_read` does, or raises `_MisfitError`; worked out once for each kind."""
    origin, parts = _generic(kind)
    if kind is float:
        return _float
    if origin is Literal:
        return functools.partial(_chosen, parts)
    if kind in _PLAIN:
        return functools.partial(_of_type, kind)
    if origin in (typing.Union, types.UnionType):
        others = [part for part in parts if part is not type(None)]
        if len(others) == 1:
            return functools.partial(_none_or, _reader(others[0]))
    elif origin is tuple and parts[-1] is Ellipsis:
        return functools.partial(_listed, parts[0], _reader(parts[0]))
    elif origin is tuple:
        return functools.partial(_each, tuple(map(_reader, parts)))
    elif isinstance(origin, type) and issubclass(origin, Mapping):
        return functools.partial(_mapped, _reader(parts[1]))
    elif dataclasses.is_dataclass(kind):
        made: Any = kind
        own = _fields(made)
        if not any(field.flat for field in own):
            fields = tuple((field.key, field.name, _reader(field.kind), field.required) for field in own)
            return functools.partial(_made, made, fields)
    return functools.partial(_slowly, kind)


def _float(value: Any) -> float:
    if type(value) is float:
        return value
    if type(value) is int:
        return float(value)
    raise _MisfitError


def _of_type(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise _MisfitError
    return value


def _chosen(parts: tuple[Any, ...], value: Any) -> Any:
    """The kind's own text, which all values share, and not the equal one that was parsed."""
    for part in parts:
        if type(value) is type(part) and value == part:
            return part
    raise _MisfitError


def _none_or(read: Callable[[Any], Any], value: Any) -> Any:
    return None if value is None else read(value)


def _listed(kind: Any, read: Callable[[Any], Any], value: Any) -> tuple[Any, ...]:
    if type(value) is not list and type(value) is not tuple:
        raise _MisfitError
    if kind in _PLAIN:
        kinds = set(map(type, value))
        if not kinds or kinds == {kind}:  # the journal's long lists of numbers
            return tuple(value) if kind is float or kind is bool else shared(tuple(value))
    return tuple(map(read, value))


def _each(reads: tuple[Callable[[Any], Any], ...], value: Any) -> tuple[Any, ...]:
    if (type(value) is not list and type(value) is not tuple) or len(value) != len(reads):
        raise _MisfitError
    return tuple([read(item) for read, item in zip(reads, value, strict=True)])


def _mapped(read: Callable[[Any], Any], value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise _MisfitError
    return {sys.intern(key): read(item) for key, item in value.items()}


def _made(kind: type, fields: tuple[tuple[str, str, Callable[[Any], Any], bool], ...], value: Any) -> Any:
    if type(value) is not dict:
        raise _MisfitError
    given = {}
    for key, name, read, required in fields:
        if key in value:
            given[name] = read(value[key])
        elif required:
            raise _MisfitError
    if len(given) != len(value):
        raise _MisfitError
    return kind(**given)


def _slowly(kind: Any, value: Any) -> Any:
    try:
        return _read(kind, value, "")
    except ValueError as error:
        raise _MisfitError from error


def _read(kind: Any, value: object, where: str) -> Any:
    if kind is float and type(value) is int:
        return float(value)
    if kind in _PLAIN:
        return _exactly(kind, value, where)
    if kind is Path:
        return _path(str(_exactly(str, value, where)), where)
    origin, parts = _generic(kind)
    if origin in (typing.Union, types.UnionType):
        return _one_of(parts, value, where)
    if origin is Literal:
        if value not in parts:
            raise _misfit(where, value, " or ".join(map(repr, parts)))
        return value
    if origin is tuple:
        return _tuple(parts, value, where)
    if dataclasses.is_dataclass(kind) or (isinstance(origin, type) and issubclass(origin, Mapping)):
        if not isinstance(value, Mapping):
            raise _misfit(where, value, "an object")
        if origin is None:
            return _dataclass(kind, dict(value), where)
        return {key: _read(parts[1], item, f"{where}.{key}") for key, item in value.items()}
    raise TypeError(f"{where}: values of type {kind} cannot be read")


@functools.cache
def _generic(kind: Any) -> tuple[Any, tuple[Any, ...]]:
    return typing.get_origin(kind), typing.get_args(kind)


def _path(text: str, where: str) -> Path:
    """A path; of one that stood for what is behind a URL, and was written as that, a copy made anew."""
    try:
        return local_path(text)
    except InputError as error:
        raise ValueError(f"{where}: {error}") from error


def _exactly(kind: type, value: object, where: str) -> object:
    if type(value) is not kind:
        raise _misfit(where, value, kind.__name__)
    return value


def _one_of(kinds: tuple[Any, ...], value: object, where: str) -> Any:
    if type(value) in kinds:  # None, text and numbers
        return value
    others = [kind for kind in kinds if kind is not type(None)]
    if len(others) == 1:
        return _read(others[0], value, where)
    for kind in others:
        with contextlib.suppress(ValueError):
            return _read(kind, value, where)
    raise _misfit(where, value, " or ".join(getattr(kind, "__name__", str(kind)) for kind in others))


def _tuple(kinds: tuple[Any, ...], value: object, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise _misfit(where, value, "a list")
    if kinds[-1] is not Ellipsis:
        if len(value) != len(kinds):
            raise _misfit(where, value, f"a list of {len(kinds)}")
        return tuple(
            _read(kind, item, f"{where}[{place}]") for place, (kind, item) in enumerate(zip(kinds, value, strict=True))
        )
    if kinds[0] in _PLAIN and all(type(item) is kinds[0] for item in value):  # the journal's long lists of numbers
        return tuple(value)
    return tuple(_read(kinds[0], item, f"{where}[{place}]") for place, item in enumerate(value))


def _dataclass(kind: type, value: dict[str, Any], where: str) -> Any:
    """Takes the keys that it reads out of ``value``; what is left belongs to nobody."""
    made = _taken(kind, value, where)
    if value:
        raise ValueError(f"{where}: key {next(iter(value))!r} is not known")
    return made


def _taken(kind: type, value: dict[str, Any], where: str) -> Any:
    given: dict[str, Any] = {}
    for field in _fields(kind):
        if field.flat:
            given[field.name] = _taken(field.kind, value, where)
        elif field.key in value:
            given[field.name] = _read(field.kind, value.pop(field.key), f"{where}.{field.key}")
        elif field.required:
            raise ValueError(f"{where}: key {field.key!r} is missing")
    return kind(**given)


@dataclass(frozen=True)
class _Field:
    """A dataclass's field as JSON sees it."""

    name: str
    key: str
    kind: Any
    flat: bool
    required: bool


@functools.cache
def _fields(kind: Any) -> tuple[_Field, ...]:
    hints = typing.get_type_hints(kind, include_extras=True)
    return tuple(_field(field, hints[field.name]) for field in dataclasses.fields(kind))


def _field(field: dataclasses.Field[Any], hint: Any) -> _Field:
    notes = getattr(hint, "__metadata__", ())
    return _Field(
        name=field.name,
        key=next((note.name for note in notes if isinstance(note, JsonKey)), field.name),
        kind=hint.__origin__ if notes else hint,
        flat=FLAT in notes,
        required=field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING,
    )


def _misfit(where: str, value: object, expected: str) -> ValueError:
    return ValueError(f"{where}: {expected} was expected, not {str(value)[:40]!r}")
