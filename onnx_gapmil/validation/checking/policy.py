"""`Policy`: what a model must be and what its figures must meet, read from TOML and checked key by key."""

from __future__ import annotations

import difflib
import hashlib
import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from onnx_gapmil.errors import InputError
from onnx_gapmil.files.reading import read_bytes
from onnx_gapmil.files.text import MAX_BYTES, read_text
from onnx_gapmil.validation.checking.toml_lines import KeyLines

SCHEMA_VERSION = 1
Bound = Literal["lower", "upper"]
Severity = Literal["fail", "warn"]
LimitKind = Literal["min", "max", "max_drop", "max_rise"]

_LIMITS: tuple[LimitKind, ...] = ("min", "max", "max_drop", "max_rise")
_TOP = ("schema_version", "model", "require")
_MODEL = ("verdict", "places", "max_residual", "preprocessing", "sha256")
_RULE = ("name", "metric", *_LIMITS, "bound", "slice", "min_images", "severity")
_VERDICTS = ("exact", "conditional")
_RELATIVE = re.compile(r"(\d+(?:\.\d+)?)\s*%")
_METRIC = re.compile(r"[A-Za-z_][\w=.-]*")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_LONGEST = 300


@dataclass(frozen=True)
class Limit:
    """What a figure is held against.

    Attributes:
        kind: ``min``, ``max``, or ``max_drop`` and ``max_rise`` against the baseline.
        value: the figure; of a relative drop or rise the share, 0.02 for ``"2 %"``.
        relative: whether it is a share of the baseline's value.
    """

    kind: LimitKind
    value: float
    relative: bool = False

    def said(self) -> str:
        """As the policy has it: ``min 0.75``, ``max_drop 2 %``."""
        return f"{self.kind} {100 * self.value:g} %" if self.relative else f"{self.kind} {self.value:g}"


@dataclass(frozen=True)
class Rule:
    """One ``[[require]]``.

    Attributes:
        name: for people; made of the rest where the policy gives none.
        metric: the figure's path in ``summary.json``; behind ``compare.`` in ``compare.json``.
        limit: what it is held against.
        bound: the end of its 95 % interval that must meet the limit; None for the figure itself.
        slice: ``column=value``, or ``worst:column``; None for all images.
        min_images: with fewer it is not judged.
        severity: ``warn`` warns where ``fail`` fails.
        line: of the policy file, where its metric is named.
    """

    name: str
    metric: str
    limit: Limit
    bound: Bound | None = None
    slice: str | None = None
    min_images: int = 0
    severity: Severity = "fail"
    line: int = 1


@dataclass(frozen=True)
class ModelRule:
    """One key of ``[model]``.

    Attributes:
        key: ``verdict``, ``places``, ``max_residual``, ``preprocessing`` or ``sha256``.
        wanted: its value: verdicts as a tuple, a truth value, a number, or text.
        line: of the policy file.
    """

    key: str
    wanted: tuple[str, ...] | bool | float | str
    line: int = 1

    @property
    def name(self) -> str:
        """``model.verdict``, ...."""
        return f"model.{self.key}"


@dataclass(frozen=True)
class Policy:
    """What a model must be, and what its figures must meet.

    Attributes:
        model: what the file must be.
        rules: on figures.
        path: where it was read; None for one in memory.
        sha256: of the file, or of its text.
    """

    model: tuple[ModelRule, ...]
    rules: tuple[Rule, ...]
    path: Path | None = None
    sha256: str = ""

    @classmethod
    def load(cls, path: str | Path) -> Policy:
        """Read a policy file.

        Raises:
            InputError: it cannot be read, or a key is wrong; names the line and the key.
        """
        file = Path(path)
        if not file.exists():
            raise InputError(
                f"{file}: there is no such policy. Name yours with --policy, or write one from an audit with "
                "`onnx-gapmil check MODEL --audit OUT --init`."
            )
        text = read_text(file, InputError)
        data = read_bytes(file, InputError, expected="a policy in TOML", limit=MAX_BYTES)
        return replace(cls.parse(text, path=file), sha256=hashlib.sha256(data).hexdigest())

    @classmethod
    def parse(cls, text: str, *, path: Path | None = None) -> Policy:
        """Read a policy's text.

        Raises:
            InputError: as `load`.
        """
        where = str(path) if path is not None else "the policy"
        try:
            data = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise InputError(f"{where}: not TOML: {error}.") from error
        reader = _Reader(data, KeyLines(text), where)
        model, rules = reader.model(), reader.rules()
        if not model and not rules:
            raise InputError(f"{where}: it has no rule, so nothing would be judged; add [model] or [[require]].")
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        return cls(model, rules, path, digest)


class _Reader:
    """Checks a parsed policy key by key."""

    def __init__(self, data: Mapping[str, Any], lines: KeyLines, where: str) -> None:
        self._data, self._lines, self._where = data, lines, where
        self._known(data, _TOP, ())
        version = data.get("schema_version")
        if version is None:
            raise self._error((), "schema_version is missing; write schema_version = 1 as the first line")
        if type(version) is not int or version != SCHEMA_VERSION:
            raise self._error(("schema_version",), f"schema_version is {version!r}, and {SCHEMA_VERSION} is read")

    def model(self) -> tuple[ModelRule, ...]:
        """The keys of ``[model]``."""
        table = self._data.get("model", {})
        if not isinstance(table, dict):
            raise self._error(("model",), f"model is {_short(table)}, and a table [model] was expected")
        self._known(table, _MODEL, ("model",))
        return tuple(ModelRule(key, self._wanted(key, value), self._at("model", key)) for key, value in table.items())

    def _wanted(self, key: str, value: object) -> tuple[str, ...] | bool | float | str:
        path = ("model", key)
        if key == "verdict":
            verdicts = [value] if isinstance(value, str) else value
            if not isinstance(verdicts, list) or not verdicts or any(item not in _VERDICTS for item in verdicts):
                raise self._error(path, f'model.verdict is {_short(value)}; a list of "exact" and "conditional"')
            return tuple(verdicts)
        if key == "places":
            if not isinstance(value, bool):
                raise self._error(path, f"model.places is {_short(value)}; true or false")
            return value
        if key == "max_residual":
            return self._number(path, "model.max_residual", value, above=0.0)
        if key == "preprocessing":
            if value != "stated":
                raise self._error(path, f'model.preprocessing is {_short(value)}; only "stated" can be asked for')
            return "stated"
        if not isinstance(value, str) or not _SHA256.fullmatch(value.lower()):
            raise self._error(path, f"model.sha256 is {_short(value)}; 64 hexadecimal digits")
        return value.lower()

    def rules(self) -> tuple[Rule, ...]:
        """The ``[[require]]`` tables."""
        entries = self._data.get("require", [])
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise self._error(("require",), "require is no list of tables; begin each rule with [[require]]")
        rules = tuple(self._rule(entry, place) for place, entry in enumerate(entries))
        seen: dict[str, int] = {}
        for rule in rules:
            if rule.name in seen:
                raise InputError(
                    f"{self._where}, line {rule.line}: a rule called {rule.name!r} stands in line {seen[rule.name]} "
                    "already; give one of them another name."
                )
            seen[rule.name] = rule.line
        return rules

    def _rule(self, entry: Mapping[str, Any], place: int) -> Rule:
        path = ("require", place)
        self._known(entry, _RULE, path)
        metric = self._text(entry, path, "metric")
        if metric is None:
            raise self._error(path, 'a rule has no metric; name a figure, such as metric = "top1"')
        if not _METRIC.fullmatch(metric):
            raise self._error(
                (*path, "metric"), f"metric is {_short(metric)}; a path such as foreground.wrong.any_top1"
            )
        limit = self._limit(entry, path)
        bound = self._choice(entry, path, "bound", ("lower", "upper"))
        severity = self._choice(entry, path, "severity", ("fail", "warn")) or "fail"
        chosen = self._slice(entry, path)
        images = entry.get("min_images", 0)
        if type(images) is not int or images < 0:
            raise self._error((*path, "min_images"), f"min_images is {_short(images)}; a whole number of 0 or more")
        name = self._text(entry, path, "name") or _name(metric, limit, bound, chosen)
        return Rule(name, metric, limit, bound, chosen, images, severity, self._at(*path, "metric"))  # type: ignore[arg-type]

    def _limit(self, entry: Mapping[str, Any], path: tuple[str | int, ...]) -> Limit:
        given = [kind for kind in _LIMITS if kind in entry]
        if len(given) != 1:
            found = " and ".join(given) if given else "none"
            raise self._error(path, f"a rule has one of min, max, max_drop and max_rise; this one has {found}")
        (kind,) = given
        value = entry[kind]
        if isinstance(value, str) and kind in ("max_drop", "max_rise"):
            match = _RELATIVE.fullmatch(value.strip())
            if match is None:
                raise self._error((*path, kind), f'{kind} is {_short(value)}; a number, or a share such as "2 %"')
            return Limit(kind, float(match[1]) / 100, relative=True)
        low = 0.0 if kind in ("max_drop", "max_rise") else None
        return Limit(kind, self._number((*path, kind), kind, value, above=low))

    def _slice(self, entry: Mapping[str, Any], path: tuple[str | int, ...]) -> str | None:
        text = self._text(entry, path, "slice")
        if text is None:
            return None
        column, mark, value = text.partition("=")
        worst = text.removeprefix("worst:")
        if (mark and column.strip() and value.strip()) or (worst != text and worst.strip()):
            return text
        raise self._error(
            (*path, "slice"), f'slice is {_short(text)}; "column=value", or "worst:column" for the worst of its values'
        )

    def _choice(
        self, entry: Mapping[str, Any], path: tuple[str | int, ...], key: str, words: tuple[str, ...]
    ) -> str | None:
        value = entry.get(key)
        if value is not None and value not in words:
            raise self._error((*path, key), f"{key} is {_short(value)}; {' or '.join(map(repr, words))}")
        return value

    def _text(self, entry: Mapping[str, Any], path: tuple[str | int, ...], key: str) -> str | None:
        value = entry.get(key)
        if value is None:
            return None
        if not isinstance(value, str) or not value.strip() or len(value) > _LONGEST or not value.isprintable():
            raise self._error((*path, key), f"{key} is {_short(value)}; a text of 1 to {_LONGEST} printable letters")
        return value.strip()

    def _number(self, path: tuple[str | int, ...], name: str, value: object, *, above: float | None) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise self._error(path, f"{name} is {_short(value)}; a finite number")
        if above is not None and value < above:
            raise self._error(path, f"{name} is {value:g}; a number of {above:g} or more")
        return float(value)

    def _known(self, table: Mapping[str, Any], known: tuple[str, ...], path: tuple[str | int, ...]) -> None:
        for key in table:
            if key not in known:
                near = difflib.get_close_matches(key, known, n=1)
                advice = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
                raise self._error((*path, key), f"key {key[:60]!r} is not known; {advice}")

    def _at(self, *path: str | int) -> int:
        return self._lines.line(*path)

    def _error(self, path: tuple[str | int, ...], what: str) -> InputError:
        end = "" if what.endswith("?") else "."
        return InputError(f"{self._where}, line {self._at(*path)}: {what}{end}")


def _name(metric: str, limit: Limit, bound: Bound | str | None, chosen: str | None) -> str:
    """A rule in words: ``top1 min 0.75 (lower) of camera=night``."""
    end = f" ({bound} end)" if bound else ""
    return f"{metric} {limit.said()}{end}" + (f" of {chosen}" if chosen else "")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
