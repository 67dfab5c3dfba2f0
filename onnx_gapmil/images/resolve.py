"""Decide how photos are preprocessed for a model, and say where every part of the decision came from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnx_gapmil.errors import PreprocessError
from onnx_gapmil.files.literals import parse_literal
from onnx_gapmil.files.sidecars import CONFIG_NAME, PREPROCESS_NAMES, YAML_NAMES, model_folders, model_stems
from onnx_gapmil.files.text import parse_json, read_text
from onnx_gapmil.files.urls import said
from onnx_gapmil.files.yaml_text import read_yaml
from onnx_gapmil.images import foreign
from onnx_gapmil.images.choosing import choose, contradictions
from onnx_gapmil.images.input_spec import InputSpec
from onnx_gapmil.images.paddle import from_paddle, is_paddle
from onnx_gapmil.images.preprocess import Preprocess
from onnx_gapmil.images.presets import PRESETS
from onnx_gapmil.images.stated import FileReading, read_file

if TYPE_CHECKING:
    import onnx

METADATA_KEY = "gapmil.preprocess"
"""Key of the model's `metadata_props` under which `Preprocess.to_json` is kept."""

#: Keys under which whole configurations, as libraries write them beside models, are put into metadata.
_CONFIGURATIONS = ("preprocessor_config", "preprocessor_config.json", "preprocess", "preprocessing", "pretrained_cfg")


def said_assumption(assumed: bool, guessed: Sequence[str]) -> str:
    """What is assumed of a preprocessing, in a few words that every page uses; "" where all is stated.

    Args:
        assumed: whether anything is not stated.
        guessed: the parts that were guessed; none of them where ``--preprocess auto`` measured all on labelled images.
    """
    if not assumed:
        return ""
    return f"guessed: {', '.join(guessed)}" if guessed else "found on labelled images, not stated"


@dataclass(frozen=True, slots=True)
class ResolvedPreprocess:
    """A preprocessing with its history.

    Attributes:
        preprocess: what to apply.
        source: sentences, to be printed: where each part comes from, what was assumed, and the notes.
        assumed: whether anything was guessed rather than stated.
        guessed: what was: of ``color``, ``values`` (scale, mean and std), ``size``, ``layout`` and ``resize``.
        parts: by part, where it comes from, for people.
        notes: what contradicts it, or was found and not followed; sentences.
    """

    preprocess: Preprocess
    source: str
    assumed: bool
    guessed: tuple[str, ...] = ()
    parts: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def guess(self) -> str:
        """What was guessed, or found on labelled images, in a few words for a page; "" where all is stated."""
        said = said_assumption(self.assumed, self.guessed)
        return f"preprocessing {said}" if said else ""

    def require_stated(self) -> None:
        """Refuse what was guessed.

        Raises:
            PreprocessError: anything was, saying what.
        """
        if self.assumed:
            what = f" ({', '.join(self.guessed)})" if self.guessed else ""
            raise PreprocessError(
                f"The preprocessing would be a guess{what}, and --no-guess forbids that: {self.source} State it with "
                "--preprocess PRESET|FILE, or in a JSON beside the model."
            )

    def to_json(self) -> dict[str, Any]:
        """What results say of it, as JSON types."""
        return {
            "preprocess": self.preprocess.to_json(),
            "preprocess_source": self.source,
            "preprocess_assumed": self.assumed,
            "preprocess_guessed": list(self.guessed),
            "preprocess_parts": dict(self.parts),
            "preprocess_notes": list(self.notes),
        }


def resolve_preprocess(
    input_spec: InputSpec,
    *,
    request: str | None,
    model_path: Path | None,
    metadata: Mapping[str, str],
    proto: onnx.ModelProto | None = None,
    sized: bool = False,
) -> ResolvedPreprocess:
    """Choose the preprocessing. The first of these that states all of it decides; the others give each part they state.

    1. `request`, the command line: a preset's name, or a JSON file (ours, timm's, Hugging Face's).
    2. A JSON file beside the model: `STEM.preprocess.json`, `preprocess.json`, timm's `config.json`, Hugging
       Face's `preprocessor_config.json`. STEM is the model's name without `.onnx`, and without
       `.gapmil` and `.repooled` too. A `config.json` of another kind is passed over. PaddleX' `inference.yml`.
    3. The model's metadata: key `gapmil.preprocess`, a configuration as of 2, the keys of the ONNX specification, of
       OpenVINO's Model API, of Ultralytics; and its input's denotations.
    4. The graph's own first nodes: what they scale, shift and resize is not done again.
    5. A guess by the input: integers are `raw`, 3 float channels `imagenet`, 1 float channel `unit`.

    What contradicts the source that is followed is a note.

    Args:
        input_spec: the model's image input.
        request: what the user asked for, or None.
        model_path: where the model lies, or None for one in memory.
        metadata: the model's `metadata_props`.
        proto: the model, whose input and first nodes are looked at; None looks at neither.
        sized: whether the input's size is the user's choice, which then stands above what states another. The rule by
            which a photo is resized, and the share that is cropped, stay: the same piece of it has more pixels.

    Raises:
        PreprocessError: no image input; an unknown preset; a file that cannot be read or followed; or layout,
            channels, size or type that contradict the model's input.
    """
    file = read_file(proto, metadata, input_spec, model_path.parent if model_path is not None else None)
    spec = file.spec
    spec.channels()  # no image input, no preprocessing: say so before anything else
    whole = _whole(spec, request, model_path, metadata)
    if whole is not None:
        return _of_whole(_at_size(whole, spec) if sized else whole, spec, file)
    chosen = choose(spec, file)
    _check(chosen.preprocess, spec, chosen.source)
    source = " ".join((chosen.source, *chosen.notes))
    return ResolvedPreprocess(
        chosen.preprocess, source, bool(chosen.guessed), chosen.guessed, chosen.parts, chosen.notes
    )


def resolved_of(
    preprocess: Preprocess,
    source: str,
    *,
    input_spec: InputSpec,
    metadata: Mapping[str, str],
    proto: onnx.ModelProto | None = None,
    folder: Path | None = None,
    sized: bool = False,
) -> ResolvedPreprocess:
    """A preprocessing that a caller gives, held against what the model's file says.

    Args:
        preprocess: what is given.
        source: where it comes from, for people.
        input_spec: the model's image input.
        metadata: the model's `metadata_props`.
        proto: the model.
        folder: where it lies.
        sized: see `resolve_preprocess`.

    Raises:
        PreprocessError: it does not fit the model's input.
    """
    file = read_file(proto, metadata, input_spec, folder)
    whole = _Whole(preprocess, source, states_size=True)
    return _of_whole(_at_size(whole, file.spec) if sized else whole, file.spec, file)


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
        return _requested(str(source), input_spec).preprocess
    path = Path(source)
    data = _json(path) if str(source) not in PRESETS else None
    if data is None or foreign.is_timm(data) or foreign.is_hugging_face(data):
        raise PreprocessError(f"{source} says nothing about the model's input; give `input_spec` with it.")
    return _located(path, Preprocess.from_json, data)


@dataclass(frozen=True, slots=True)
class _Whole:
    """A preprocessing that one source states as a whole, and whether size and layout are its own."""

    preprocess: Preprocess
    source: str
    states_size: bool


def _at_size(whole: _Whole, spec: InputSpec) -> _Whole:
    """The same for the size that the user chose for the model's input; resize rule and crop keep their proportions."""
    height, width = (own or side for own, side in zip(spec.size(), whole.preprocess.size, strict=True))
    if (height, width) == whole.preprocess.size:
        return whole
    said = f"{whole.source}, for {width}x{height} (width x height) as asked for"
    return _Whole(replace(whole.preprocess, size=(height, width)), said, states_size=True)


def _of_whole(whole: _Whole, spec: InputSpec, file: FileReading) -> ResolvedPreprocess:
    preprocess, guessed = whole.preprocess, list[str]()
    notes = [f"{whole.source}."]
    size = next((entry for entry in file.statements if entry.part == "size"), None)
    parts = dict.fromkeys(("layout", "color", "size", "values", "resize"), whole.source)
    if not whole.states_size and None in spec.size():
        if size is not None and _fits(size.fields["size"], spec):
            preprocess = replace(preprocess, size=size.fields["size"])
            parts["size"] = size.source
            notes.append(f"Size {size.says} by {size.source}.")
        else:
            height, width = preprocess.size
            notes.append(f"The model takes any size; {width}x{height} (width x height) is assumed.")
            guessed.append("size")
            parts["size"] = "a guess"
    _check(preprocess, spec, whole.source)
    if spec.layout_is_ambiguous() and not whole.states_size:
        notes.append(f"The shape {spec.shape} fits NCHW and NHWC; NCHW is assumed.")
        guessed.append("layout")
        parts["layout"] = "a guess"
    against = (*contradictions(preprocess, whole.source, file), *file.notes)
    source = " ".join((*notes, *against))
    return ResolvedPreprocess(preprocess, source, bool(guessed), tuple(guessed), parts, against)


def _fits(size: tuple[int, int], spec: InputSpec) -> bool:
    return all(own is None or own == side for own, side in zip(spec.size(), size, strict=True))


def _check(preprocess: Preprocess, spec: InputSpec, source: str) -> None:
    try:
        preprocess.check_fits(spec)
    except PreprocessError as error:
        raise PreprocessError(f"{error} The preprocessing is {source}.") from error


def _whole(spec: InputSpec, request: str | None, model_path: Path | None, metadata: Mapping[str, str]) -> _Whole | None:
    if request is not None:
        return _requested(request, spec)
    beside = _beside(model_path, spec) if model_path is not None else None
    return beside if beside is not None else _in_metadata(spec, metadata)


def _in_metadata(spec: InputSpec, metadata: Mapping[str, str]) -> _Whole | None:
    """A whole configuration in the metadata: ours, or a library's under a name that people give it."""
    if METADATA_KEY in metadata:
        where = f"the model's metadata {METADATA_KEY!r}"
        data = parse_json(metadata[METADATA_KEY], where, PreprocessError)
        return _Whole(_located(where, Preprocess.from_json, data), f"read from {where}", states_size=True)
    for key in _CONFIGURATIONS:
        data = parse_literal(metadata.get(key, ""))
        if foreign.is_timm(data) or foreign.is_hugging_face(data) or _is_ours(data):
            preprocess, form = _read(data, f"the metadata key {key!r}", spec)
            return _Whole(preprocess, f"{form} in the metadata key {key!r}", states_size=True)
    return None


def _is_ours(data: object) -> bool:
    return isinstance(data, Mapping) and {"layout", "color", "size", "scale"} <= set(data)


def _requested(request: str, spec: InputSpec) -> _Whole:
    if request in PRESETS:
        return _Whole(PRESETS[request](spec), f"preset {request!r}, as asked for", states_size=False)
    path = Path(request)
    if path.suffix.lower() != ".json" and not path.exists():
        raise PreprocessError(
            f"Preprocessing {request!r} is neither a preset ({', '.join(PRESETS)}) nor an existing JSON file."
        )
    preprocess, form = _read(_json(path), path, spec)
    return _Whole(preprocess, f"{form} from {said(path)}, as asked for", states_size=True)


def _beside(model_path: Path, spec: InputSpec) -> _Whole | None:
    names = [f"{stem}.preprocess.json" for stem in model_stems(model_path)]
    for folder in model_folders(model_path):
        for name in (*names, *PREPROCESS_NAMES):
            path = folder / name
            if not path.is_file():
                continue
            if name == CONFIG_NAME and not foreign.is_timm(_json(path)):
                continue
            preprocess, form = _read(_json(path), path, spec)
            return _Whole(preprocess, f"{form} from {said(path)}, beside the model", states_size=True)
        for name in YAML_NAMES:
            path = folder / name
            data = read_yaml(path, PreprocessError) if path.is_file() else None
            if is_paddle(data):
                preprocess = _located(path, lambda found: from_paddle(found, spec), data)
                return _Whole(
                    preprocess, f"PaddleX' configuration from {said(path)}, beside the model", states_size=True
                )
    return None


def _read(data: object, where: object, spec: InputSpec) -> tuple[Preprocess, str]:
    if foreign.is_timm(data):
        return _located(where, lambda d: foreign.from_timm(d, spec), data), "timm's configuration"
    if foreign.is_hugging_face(data):
        return _located(where, lambda d: foreign.from_hugging_face(d, spec), data), "Hugging Face's configuration"
    return _located(where, Preprocess.from_json, data), "preprocessing JSON"


def _located(where: object, read: Callable[[Any], Preprocess], data: object) -> Preprocess:
    try:
        return read(data)
    except PreprocessError as error:
        raise PreprocessError(f"{where}: {error}") from error


def _json(path: Path) -> object:
    return parse_json(read_text(path, PreprocessError), str(path), PreprocessError)
