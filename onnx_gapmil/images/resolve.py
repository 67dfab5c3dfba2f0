"""Decide how photos are preprocessed for a model, and say where every part of the decision came from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnx_gapmil.errors import PreprocessError
from onnx_gapmil.files.sidecars import PREPROCESS_NAMES, model_stems
from onnx_gapmil.files.text import parse_json, read_text
from onnx_gapmil.files.wording import count
from onnx_gapmil.images import foreign
from onnx_gapmil.images.input_spec import InputSpec
from onnx_gapmil.images.preprocess import Preprocess
from onnx_gapmil.images.presets import PRESETS

METADATA_KEY = "gapmil.preprocess"
"""Key of the model's `metadata_props` under which `Preprocess.to_json` is kept."""


@dataclass(frozen=True, slots=True)
class ResolvedPreprocess:
    """A preprocessing with its history.

    Attributes:
        preprocess: what to apply.
        source: one or two sentences, to be printed: where it comes from and what was assumed.
        assumed: whether anything was guessed rather than stated: the preset, the size or the layout.
    """

    preprocess: Preprocess
    source: str
    assumed: bool


def resolve_preprocess(
    input_spec: InputSpec, *, request: str | None, model_path: Path | None, metadata: Mapping[str, str]
) -> ResolvedPreprocess:
    """Choose the preprocessing; the first of these that is there decides.

    1. `request`, the command line: a preset's name, or a JSON file (ours, timm's, Hugging Face's).
    2. A JSON file beside the model: `STEM.preprocess.json`, `preprocess.json`, timm's `config.json`, Hugging
       Face's `preprocessor_config.json`. STEM is the model's name without `.onnx`, and without `.gapmil`
       too. A `config.json` of another kind is passed over.
    3. The model's metadata, key `gapmil.preprocess`.
    4. The graph: an integer input is `raw`, 3 float channels are `imagenet`, 1 float channel is `unit`.

    Args:
        input_spec: the model's image input.
        request: what the user asked for, or None.
        model_path: where the model lies, or None for one in memory.
        metadata: the model's `metadata_props`.

    Raises:
        PreprocessError: no image input; an unknown preset; a file that cannot be read or followed; or layout,
            channels, size or type that contradict the model's input.
    """
    input_spec.channels()  # no image input, no preprocessing: say so before anything else
    preprocess, source, guessed, has_size = _first_source(input_spec, request, model_path, metadata)
    try:
        preprocess.check_fits(input_spec)
    except PreprocessError as error:
        raise PreprocessError(f"{error} The preprocessing is {source}.") from error
    notes = [f"{source}."]
    size_guessed = not has_size and None in input_spec.size()
    if size_guessed:
        height, width = preprocess.size
        notes.append(f"The model takes any size; {width}x{height} (width x height) is assumed.")
    layout_guessed = input_spec.layout_is_ambiguous() and not has_size
    if layout_guessed:
        notes.append(f"The shape {input_spec.shape} fits NCHW and NHWC; NCHW is assumed.")
    return ResolvedPreprocess(preprocess, " ".join(notes), guessed or size_guessed or layout_guessed)


def load_preprocess(source: str | Path, *, input_spec: InputSpec | None = None) -> Preprocess:
    """Read a preprocessing: a JSON file (ours, timm's, Hugging Face's), or a preset by its name.

    Args:
        source: the file, or a name in `PRESETS`.
        input_spec: the model's input (`GridSession.input`), which presets and the files of others take the layout, the
            type and perhaps the size from. Our own JSON states all of them.

    Raises:
        PreprocessError: neither a preset nor a file that can be read and followed; or it needs `input_spec`.
    """
    if input_spec is not None:
        return _requested(str(source), input_spec)[0]
    path = Path(source)
    data = _json(path) if str(source) not in PRESETS else None
    if data is None or foreign.is_timm(data) or foreign.is_hugging_face(data):
        raise PreprocessError(f"{source} says nothing about the model's input; give `input_spec` with it.")
    return _located(path, Preprocess.from_json, data)


_Found = tuple[Preprocess, str, bool, bool]
"""Preprocess, source, whether the preset is a guess, whether the source states size and layout itself."""


def _first_source(spec: InputSpec, request: str | None, model_path: Path | None, metadata: Mapping[str, str]) -> _Found:
    if request is not None:
        return _requested(request, spec)
    beside = _beside(model_path, spec) if model_path is not None else None
    if beside is not None:
        return beside
    if METADATA_KEY in metadata:
        where = f"the model's metadata {METADATA_KEY!r}"
        data = parse_json(metadata[METADATA_KEY], where, PreprocessError)
        return _located(where, Preprocess.from_json, data), f"read from {where}", False, True
    return _inferred(spec)


def _requested(request: str, spec: InputSpec) -> _Found:
    if request in PRESETS:
        return PRESETS[request](spec), f"preset {request!r}, as asked for", False, False
    path = Path(request)
    if path.suffix.lower() != ".json" and not path.exists():
        raise PreprocessError(
            f"Preprocessing {request!r} is neither a preset ({', '.join(PRESETS)}) nor an existing JSON file."
        )
    preprocess, form = _from_file(path, spec)
    return preprocess, f"{form} from {path}, as asked for", False, True


def _beside(model_path: Path, spec: InputSpec) -> _Found | None:
    names = [f"{stem}.preprocess.json" for stem in model_stems(model_path)]
    for name in (*names, *PREPROCESS_NAMES):
        path = model_path.parent / name
        if not path.is_file():
            continue
        if name == "config.json" and not foreign.is_timm(_json(path)):
            continue
        preprocess, form = _from_file(path, spec)
        return preprocess, f"{form} from {path}, beside the model", False, True
    return None


def _from_file(path: Path, spec: InputSpec) -> tuple[Preprocess, str]:
    data = _json(path)
    if foreign.is_timm(data):
        return _located(path, lambda d: foreign.from_timm(d, spec), data), "timm's configuration"
    if foreign.is_hugging_face(data):
        return _located(path, lambda d: foreign.from_hugging_face(d, spec), data), "Hugging Face's configuration"
    return _located(path, Preprocess.from_json, data), "preprocessing JSON"


def _located(where: object, read: Callable[[Any], Preprocess], data: object) -> Preprocess:
    try:
        return read(data)
    except PreprocessError as error:
        raise PreprocessError(f"{where}: {error}") from error


def _json(path: Path) -> object:
    return parse_json(read_text(path, PreprocessError), str(path), PreprocessError)


def _inferred(spec: InputSpec) -> _Found:
    by_channels = "imagenet" if spec.channels() == 3 else "unit"
    name = by_channels if spec.dtype.startswith(("float", "bfloat")) else "raw"
    source = (
        f"nothing states the preprocessing: preset {name!r} is assumed from the input ({spec.dtype}, "
        f"{count(spec.channels(), 'channel')}); pass --preprocess if the model was trained otherwise"
    )
    return PRESETS[name](spec), source, True, False
