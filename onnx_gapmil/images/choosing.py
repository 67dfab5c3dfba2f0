"""Put a preprocessing together from what a file states in parts, guess the rest, and name each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from onnx_gapmil.errors import PreprocessError
from onnx_gapmil.images.keys import RESIZE_DEFAULTS
from onnx_gapmil.images.preprocess import Preprocess
from onnx_gapmil.images.presets import PRESETS
from onnx_gapmil.images.stated.statement import PARTS, Statement, span, values

if TYPE_CHECKING:
    from onnx_gapmil.images.input_spec import InputSpec
    from onnx_gapmil.images.stated.reading import FileReading

#: Ranges of values that differ by more than this share of the wider one contradict each other.
_SAME_RANGE = 0.1
#: What a graph may take that normalizes by itself, as scale of pixels and mean: pixels, 0..1, -1..1.
_TAKEN = ((1.0, 0.0), (1 / 255, 0.0), (1 / 127.5, 1.0))
_ADVICE = "pass --preprocess if the model was trained otherwise"


@dataclass(frozen=True)
class Chosen:
    """A preprocessing put together.

    Attributes:
        preprocess: what to apply.
        source: sentences, to be printed, without a full stop at the end of the last.
        guessed: the parts that nothing states.
        parts: by part, where it comes from.
        notes: contradictions, and what is not followed; sentences.
    """

    preprocess: Preprocess
    source: str
    guessed: tuple[str, ...]
    parts: Mapping[str, str]
    notes: tuple[str, ...]


def choose(spec: InputSpec, file: FileReading) -> Chosen:
    """Each part by the first that states it; what nothing states by a preset, which is a guess.

    How a photo comes to the input's size is by default squashed, where the values are stated; a preset that is guessed
    for the values brings its own rule.

    Args:
        spec: the model's image input.
        file: what its file says.
    """
    name = _preset(spec)
    guess = PRESETS[name](spec)
    all_of_them, repeated = followed(file)
    statements = [entry for entry in all_of_them if _is_possible(entry, guess)]
    repeated += [
        f"{_capital(entry.source)} says {entry.says}, which the model's input cannot take; it is not followed."
        for entry in all_of_them
        if entry not in statements
    ]
    first: dict[str, Statement] = {}
    for entry in statements:
        if entry.part != "size" or None in spec.size():
            first.setdefault(entry.part, entry)
    if file.first_nodes.reverses and guess.color == "RGB":
        guess = replace(guess, color="BGR", mean=guess.mean[::-1], std=guess.std[::-1])
    color = first["color"].fields["color"] if "color" in first else guess.color
    statements = [entry.in_order(color) for entry in statements]
    first = {part: entry.in_order(color) for part, entry in first.items()}
    made = _combined(guess, first)
    guessed = _guessed(spec, first)
    parts: dict[str, str] = {part: first[part].source for part in PARTS if part in first}
    parts |= dict.fromkeys(guessed, "a guess: nothing states it")
    parts.setdefault("size", f"the model's input {spec.name!r}")
    parts.setdefault("layout", f"the model's input {spec.name!r}")
    if spec.channels() == 1:
        parts.setdefault("color", f"the model's input {spec.name!r}, of one channel")
    if "resize" not in parts:
        parts["resize"] = "a default: nothing states it"
    source = _sentences(spec, made, first, guessed, name, reverses=file.first_nodes.reverses)
    notes = (*repeated, *_against(first, statements, spec), *file.notes)
    return Chosen(made, source, guessed, parts, notes)


def contradictions(preprocess: Preprocess, source: str, file: FileReading) -> tuple[str, ...]:
    """What a model's file says otherwise than a preprocessing that comes from elsewhere; sentences."""
    fields = preprocess.to_json()
    statements, repeated = followed(file)
    return (
        *repeated,
        *(
            f"{_capital(entry.source)} says {entry.says}, which contradicts the {entry.part} of the {source}; "
            "the latter is followed."
            for entry in statements
            if entry.part not in ("layout", "resize") and _differs(entry.part, _as_fields(fields), entry.fields)
        ),
    )


def _as_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()}


def _preset(spec: InputSpec) -> str:
    if not spec.dtype.startswith(("float", "bfloat")):
        return "raw"
    return "imagenet" if spec.channels() == 3 else "unit"


def followed(file: FileReading) -> tuple[list[Statement], list[str]]:
    """The statements that are for the caller, and sentences on those that the graph carries out itself."""
    statements: list[Statement] = []
    notes: list[str] = []
    inside = file.first_nodes.values
    for entry in file.statements:
        taken = _taken_inside(entry, inside) if entry.part == "values" and inside is not None else None
        if taken is None or entry in file.first_nodes.statements:
            statements.append(entry)
            continue
        notes.append(f"{_capital(entry.source)} says {entry.says}: {file.first_nodes.source} do that already.")
        made = values(*taken, len(entry.fields["mean"]))
        if made is not None:
            source = f"{entry.source}, whose normalization {file.first_nodes.source} do"
            statements.append(Statement("values", *made, source))
    return statements, notes


def _is_possible(entry: Statement, guess: Preprocess) -> bool:
    """Whether an input of the guess's type and channels can be prepared so: bytes, say, cannot be brought to 0..1."""
    try:
        replace(guess, **({} if entry.part == "layout" else entry.fields))
    except PreprocessError:
        return False
    return True


def _taken_inside(
    entry: Statement, inside: tuple[tuple[float, ...], tuple[float, ...]]
) -> tuple[float, tuple[float, ...], tuple[float, ...]] | None:
    """Scale, mean and std of what the graph's first nodes take where they do to it what a statement says of pixels.

    They may do it to pixels, to 0..1 or to -1..1, with the channels turned round too; None: they do something else.
    """
    scale = np.array(entry.fields["scale"]) / np.array(entry.fields["std"])
    shift = -np.array(entry.fields["mean"]) / np.array(entry.fields["std"])
    if np.all(scale == 1) and np.all(shift == 0):
        return None
    factors, added = np.array(inside[0]), np.array(inside[1])
    if factors.shape != scale.shape:
        return None
    for factor, mean in _TAKEN:
        whole, then = factors * factor, added - factors * mean
        for turn in (slice(None), slice(None, None, -1)):
            if np.allclose(scale, whole[turn], rtol=1e-3) and np.allclose(shift, then[turn], rtol=1e-3, atol=1e-4):
                return factor, (mean,), (1.0,)
    return None


def _combined(guess: Preprocess, first: Mapping[str, Statement]) -> Preprocess:
    """The guess with what is stated in its place."""
    fields: dict[str, Any] = {}
    for part in PARTS:
        if part in first and part != "layout":
            fields |= first[part].fields
    if "resize" not in first and "values" in first:
        fields |= RESIZE_DEFAULTS
    if "values" not in first and fields.get("color", guess.color) != guess.color:
        fields |= {"mean": guess.mean[::-1], "std": guess.std[::-1]}
    return replace(guess, **fields)


def _guessed(spec: InputSpec, first: Mapping[str, Statement]) -> tuple[str, ...]:
    missing = []
    if "color" not in first and spec.channels() == 3:
        missing.append("color")
    if "values" not in first:
        missing.append("values")
        if "resize" not in first:
            missing.append("resize")
    if "size" not in first and None in spec.size():
        missing.append("size")
    if spec.layout_is_ambiguous():
        missing.append("layout")
    return tuple(missing)


def _sentences(
    spec: InputSpec,
    made: Preprocess,
    first: Mapping[str, Statement],
    guessed: tuple[str, ...],
    name: str,
    *,
    reverses: bool,
) -> str:
    stated = [entry for part, entry in first.items() if part != "layout"]
    notes = []
    if stated:
        by_source: dict[str, list[str]] = {}
        for entry in stated:
            by_source.setdefault(entry.source, []).append(f"{entry.part} ({entry.says})")
        said = "; ".join(f"{', '.join(parts)} by {source}" for source, parts in by_source.items())
        notes.append(f"{'partly stated' if guessed else 'stated'}: {said}.")
        if guessed:
            notes.append(_guess_sentence(made, guessed, name, reverses=reverses))
        if "resize" not in first and "resize" not in guessed:
            notes.append(f"By default the photo is squashed, {made.interpolation}: nothing states how it is resized.")
    else:
        notes.append(
            f"nothing states the preprocessing: preset {name!r} is assumed from the input ({spec.dtype}, "
            f"{spec.channels()} channel(s)); {_ADVICE}."
        )
        if reverses:
            notes.append("The graph turns the order of the channels round, so BGR is assumed.")
    if "size" in guessed:
        height, width = made.size
        notes.append(f"The model takes any size; {width}x{height} (width x height) is assumed.")
    if "layout" in guessed:
        notes.append(f"The shape {spec.shape} fits NCHW and NHWC; NCHW is assumed.")
    return " ".join(notes)


def _guess_sentence(made: Preprocess, guessed: tuple[str, ...], name: str, *, reverses: bool) -> str:
    why = " (the graph turns the order of the channels round, and most networks are trained in RGB)" if reverses else ""
    words = {
        "color": f"color {made.color}{why}",
        "values": f"values of the preset {name!r}",
        "resize": "its resize rule",
    }
    shown = [words[part] for part in guessed if part in words]
    return f"Guessed, since nothing states it: {', '.join(shown)}; {_ADVICE}." if shown else ""


def _against(first: Mapping[str, Statement], statements: Sequence[Statement], spec: InputSpec) -> list[str]:
    """What later statements say otherwise than those that are followed."""
    size = spec.size()
    of_size = [
        f"{_capital(entry.source)} says {entry.says}, which contradicts the model's input of {size[1]}x{size[0]}; the "
        "latter is followed."
        for entry in statements
        if entry.part == "size" and None not in size and entry.fields["size"] != size
    ]
    return of_size + [
        f"{_capital(entry.source)} says {entry.says}, which contradicts {first[entry.part].source} "
        f"({first[entry.part].says}); the latter is followed, since it comes first."
        for entry in statements
        if entry.part in first
        and entry != first[entry.part]
        and _differs(entry.part, first[entry.part].fields, entry.fields)
    ]


def _differs(part: str, one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    if part != "values":
        return any(one.get(key) != value for key, value in other.items())
    ranges = [span(fields["scale"], fields["mean"], fields["std"]) for fields in (one, other)]
    if len(ranges[0][0]) != len(ranges[1][0]):
        return True
    (low, high), (other_low, other_high) = ((np.array(ends[0]), np.array(ends[1])) for ends in ranges)
    wide = np.maximum(high - low, other_high - other_low)
    return bool(np.any(np.maximum(abs(low - other_low), abs(high - other_high)) > _SAME_RANGE * wide))


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
