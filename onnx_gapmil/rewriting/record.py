"""The one record of a lifted head: what the rewriter writes into a model's metadata, and all others read from there."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, get_args

from onnx_gapmil.aggregate.activation import Activation
from onnx_gapmil.aggregate.aggregator import parse_aggregator
from onnx_gapmil.errors import InputError, ModelError
from onnx_gapmil.files.json_text import json_text
from onnx_gapmil.graph.loading import HEADS_KEY
from onnx_gapmil.images.places import Places
from onnx_gapmil.lift.lifted import UNARRANGED
from onnx_gapmil.lift.tokens.modes import ClassTokenMode
from onnx_gapmil.lift.verdict import LiftStep, PoolWeights, Readout, StepKind, Verdict, said_verdict
from onnx_gapmil.lift.weighted_pools import WeightedPool
from onnx_gapmil.rewriting.attachment.rungs import Attachment
from onnx_gapmil.rewriting.emission.names import HeadOutputs, read_outputs, text_of
from onnx_gapmil.version import __version__

if TYPE_CHECKING:
    import onnx

    from onnx_gapmil.lift.lifted import FeatureGrid
    from onnx_gapmil.rewriting.emission.emit import Emit

VERSION_KEY = "gapmil.version"
VERDICT_KEY = "gapmil.verdict"
SOURCE_KEY = "gapmil.source_sha256"
INLINED_KEY = "gapmil.functions_inlined"

#: The places of heads that an older version recorded.
UNTRACED = Places.unknown("the file was written by an older version, which did not trace them")


@dataclass(frozen=True)
class FeatureGridRecord:
    """A map of the vendor's that a head pools.

    Attributes:
        source: the vendor's tensor.
        pool: the pooling node, as ``name (operator)``.
        layout: how the vendor lays it out: ``NCHW``, ``NHWC``, ``tokens``, ...
        channels: C.
        size: (H, W) in the trace.
        axes: the source's axes that are cells, in the order rows, columns.
        cells: lengths of the axes of a volume's or a clip's cells, in the trace, which ``size`` has in one row; empty
            for rows and columns.
        frames: how many frames of each clip the source has in its batch; 0 where it has none.
        frames_outer: whether they are the slower of the two in such a batch.
        note: anything a reader must know, e.g. that tokens have no known two-dimensional arrangement.
    """

    source: str
    pool: str
    layout: str
    channels: int
    size: tuple[int, int]
    axes: tuple[int, ...]
    note: str = ""
    cells: tuple[int, ...] = ()
    frames: int = 0
    frames_outer: bool = False

    @classmethod
    def of(cls, grid: FeatureGrid) -> FeatureGridRecord:
        """What is kept of a grid that a walk ended at."""
        own = {entry.name: getattr(grid, entry.name) for entry in fields(cls) if not entry.name.startswith("frames")}
        fold = grid.fold if grid.fold is not None and grid.fold.batched else None
        return cls(**own, frames=fold.frames if fold else 0, frames_outer=fold.outer if fold else False)

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes of its cells, in the trace."""
        return self.cells or self.size

    def to_json(self) -> dict[str, Any]:
        """The map as JSON types; what only volumes and clips have is left out of others."""
        found = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}
        absent = [*([] if self.cells else ["cells"]), *([] if self.frames else ["frames", "frames_outer"])]
        return {key: value for key, value in found.items() if key not in absent}


@dataclass(frozen=True, kw_only=True)
class HeadRecord(HeadOutputs):
    """One head of a rewritten model, with the names of its graph outputs.

    Attributes:
        output: the vendor's first output that the head makes; ``outputs`` has them all.
        verdict: ``exact`` or ``conditional``.
        activation: what the vendor's graph makes of the logits: ``softmax``, ``sigmoid`` or ``none``.
        readout: ``contribution`` (mean over cells = logits) or ``instance``.
        quantized: whether the head rounds to integers on the way, so that the identity holds up to rounding.
        rounding_bound: how far rounding alone may move a logit of a quantized head, from its scales and weights;
            None where it does not round, or no bound follows from them.
        position_dependent: whether the head has weights of its own for each position.
        note: anything a reader of the grid must know, e.g. that its positions have no known arrangement.
        grid_shape: (N, K, H, W) of the prediction grid, emitted or not, of a volume (N, K, D, H, W), of a clip
            (N, K, T, H, W); open axes by a symbol's name.
        residual: largest |mean over cells - logits| / max |logits| that the proof measured; None before it.
        feature_grids: the vendor's maps that the head pools; nearly always one.
        chain: the head, operator by operator, from the pool to the logits.
        source_sha256: of the vendor's ``.onnx`` file; "" where it is not known.
        places: where the cells look in the input.
        attachment: how the new nodes hang on the vendor's graph (`onnx_gapmil.rewriting.attachment`).
        features_of: the outputs whose scores are made of this one's, so that it is features and has no classes; empty
            for a head of classes.
        class_token: how far the class token that the head reads is lifted; None where it reads none.
        placeless_share: of such a head, the part of the logits' pattern that no place brings
            (`onnx_gapmil.aggregate.placeless`), on average over the images of noise that the proof ran; None before it.
        as_deployed: what was measured of the vendor's outputs under ONNX Runtime's optimization, as the proof's JSON
            has it; None before it.
        resized_from: (height, width) of the input that `places` are of, where the graph itself resizes an input of any
            size to one: cells of another size then lie in proportion. Found anew whenever a record is read.
        pool_weights: of its pools those that do not weigh all positions alike, one that images chose among them.
            Read from the graph, not from a record.
    """

    output: str
    outputs: tuple[str, ...]
    verdict: Verdict
    activation: Activation = "none"
    readout: Readout = "contribution"
    quantized: bool = False
    rounding_bound: float | None = None
    position_dependent: bool = False
    note: str = ""
    grid_shape: tuple[int | str, ...]
    residual: float | None = None
    feature_grids: tuple[FeatureGridRecord, ...] = ()
    chain: tuple[LiftStep, ...] = ()
    source_sha256: str = ""
    places: Places = UNTRACED
    attachment: Attachment = "plain"
    as_deployed: Mapping[str, Any] | None = None
    features_of: tuple[str, ...] = ()
    resized_from: tuple[int, int] | None = None
    class_token: ClassTokenMode | None = None
    placeless_share: float | None = None
    pool_weights: tuple[WeightedPool, ...] = field(default=(), compare=False)
    pool: str = "mean"

    @property
    def new_outputs(self) -> tuple[str, ...]:
        """The graph outputs that the vendor's model has not; its logits may be an output of the vendor's."""
        return tuple(name for name in self.tensors if name not in self.outputs)

    def with_places(self, places: Places) -> HeadRecord:
        """The same with what was proved of its places; the note follows, by which nothing is drawn of unknown ones."""
        if places.known == self.places.known:
            return replace(self, places=places)
        grids = tuple(replace(grid, note=_note_on_places(grid.note, places)) for grid in self.feature_grids)
        return replace(self, places=places, feature_grids=grids, note=_note_on_places(self.note, places))

    def at(self, size: tuple[int, int]) -> HeadRecord:
        """The same for an input of a size, (height, width): its places in pixels of that."""
        places = self.places
        if self.resized_from in (None, size) or places.rows is None or places.columns is None:
            return self
        down, across = (own / whole for own, whole in zip(size, self.resized_from or size, strict=True))
        rows, columns = places.rows.stretched(down), places.columns.stretched(across)
        return replace(self, places=replace(places, rows=rows, columns=columns), resized_from=size)

    @property
    def arranged(self) -> bool:
        """Whether the cells have known rows and columns of an image; without them nothing is drawn."""
        is_image = len(self.grid_shape) == 4 and not (self.places.known and self.places.rows is None)
        return is_image and UNARRANGED not in self.note

    @property
    def said_verdict(self) -> str:
        """The verdict as it is said, position-dependence included."""
        return said_verdict(self.verdict, position_dependent=self.position_dependent, class_token=self.class_token)

    def to_json(self) -> dict[str, Any]:
        """The head as the metadata keep it and the command line prints it.

        The source's SHA-256 stands beside it, once for all heads of a model.
        """
        return {
            "output": self.output,
            "verdict": self.verdict,
            **self.outputs_json(),
            "activation": self.activation,
            "readout": self.readout,
            "quantized": self.quantized,
            "rounding_bound": self.rounding_bound,
            "position_dependent": self.position_dependent,
            "note": self.note,
            "outputs": list(self.outputs),
            "grid_shape": list(self.grid_shape),
            "residual": self.residual,
            "feature_grids": [grid.to_json() for grid in self.feature_grids],
            "chain": [step.to_json() for step in self.chain],
            "places": self.places.to_json(),
            "attachment": self.attachment,
            "class_token": True if self.class_token is not None else None,
            "class_token_lift": self.class_token,
            "placeless_share": self.placeless_share,
            "as_deployed": None if self.as_deployed is None else dict(self.as_deployed),
            "features_of": list(self.features_of),
            **({} if self.pool == "mean" else {"pool": self.pool}),
        }


def _note_on_places(note: str, places: Places) -> str:
    """A note that says that places are not known if that is so."""
    others = [part for part in note.split("; ") if part and part != UNARRANGED]
    return "; ".join(others if places.known else [*others, UNARRANGED])


def token_mode(heads: Iterable[HeadRecord]) -> ClassTokenMode | None:
    """How far class tokens are lifted in a file; None where no head of it reads one."""
    return next((head.class_token for head in heads if head.class_token is not None), None)


def joint_verdict(verdicts: Iterable[Verdict]) -> Verdict:
    """The verdict on a model: ``exact`` if that on each of its lifted heads is."""
    return "exact" if all(verdict == "exact" for verdict in verdicts) else "conditional"


def require_emitted(wish: Emit, heads: Iterable[HeadOutputs], what: str) -> None:
    """Make sure that a rewritten model gives what is asked for.

    Raises:
        ModelError: it does not; only the original can be rewritten with more.
    """
    for head in heads:
        absent = wish.missing_from(head.emit)
        if absent:
            raise ModelError(
                f"{what} was rewritten to give {head.emit}, and {', '.join(absent)} was asked for: rewrite the "
                f"original with --emit {wish}."
            )


def write_heads(proto: onnx.ModelProto, heads: tuple[HeadRecord, ...], *, inlined: bool) -> None:
    """Write the heads into a model's metadata, in place of an earlier record of ours.

    Args:
        proto: the rewritten model, which is changed.
        heads: its heads.
        inlined: whether the vendor's local functions were inlined.
    """
    entries = {
        VERSION_KEY: __version__,
        VERDICT_KEY: joint_verdict(head.verdict for head in heads),
        HEADS_KEY: json_text([head.to_json() for head in heads], compact=True),
        SOURCE_KEY: heads[0].source_sha256,
        INLINED_KEY: str(inlined).lower(),
    }
    held = {entry.key: entry for entry in proto.metadata_props}
    for key, value in entries.items():
        if key in held:
            held[key].value = value
        else:
            proto.metadata_props.add(key=key, value=value)


def read_heads(metadata: Mapping[str, str], outputs: Iterable[str], what: str) -> tuple[HeadRecord, ...] | None:
    """Read the heads that a rewrite recorded; None for a model that was not rewritten.

    What an older version did not write yet has its default.

    Args:
        metadata: the model's `metadata_props`.
        outputs: names of the graph's outputs.
        what: the model's name, for messages.

    Raises:
        ModelError: the record is damaged, or names outputs that the graph has not.
    """
    text = metadata.get(HEADS_KEY)
    if text is None:
        return None
    try:
        heads = tuple(_head(entry, metadata.get(SOURCE_KEY, "")) for entry in json.loads(text))
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError, InputError) as error:
        raise _damaged(what, f"it cannot be read ({type(error).__name__}: {error})") from error
    if not heads:
        raise _damaged(what, "it names no head")
    known = set(outputs)
    absent = sorted({name for head in heads for name in head.tensors} - known)
    if absent:
        raise _damaged(what, f"the graph has no output {', '.join(map(repr, absent))}")
    return heads


def _head(entry: Mapping[str, Any], source_sha256: str) -> HeadRecord:
    output, verdict = text_of(entry["output"]), _word(entry["verdict"], Verdict)
    grid_shape = tuple(_axis(axis) for axis in entry["grid_shape"])
    if len(grid_shape) < 4:
        raise ValueError(f"a grid has four axes or more, not {len(grid_shape)}")
    bound, residual = entry.get("rounding_bound"), entry.get("residual")
    return HeadRecord(
        output=output,
        verdict=verdict,
        **read_outputs(entry),
        activation=_word(entry.get("activation", "none"), Activation),
        readout=_word(entry.get("readout", "contribution"), Readout),
        quantized=entry.get("quantized", False) is True,
        rounding_bound=float(bound) if bound is not None else None,
        position_dependent=entry.get("position_dependent", False) is True,
        note=text_of(entry.get("note", "")),
        outputs=tuple(text_of(name) for name in entry.get("outputs") or [output]),
        grid_shape=grid_shape,
        residual=float(residual) if residual is not None else None,
        feature_grids=tuple(_feature_grid(grid) for grid in entry.get("feature_grids") or ()),
        chain=tuple(_step(step) for step in entry.get("chain") or ()),
        source_sha256=source_sha256,
        places=Places.from_json(entry["places"]) if entry.get("places") is not None else UNTRACED,
        attachment=_word(entry.get("attachment", "plain"), Attachment),
        class_token=None if entry.get("class_token_lift") is None else _word(entry["class_token_lift"], ClassTokenMode),
        placeless_share=_share(entry.get("placeless_share")),
        as_deployed=dict(entry["as_deployed"]) if entry.get("as_deployed") is not None else None,
        features_of=tuple(text_of(name) for name in entry.get("features_of") or ()),
        pool=_pool(text_of(entry.get("pool", "mean"))),
    )


def _feature_grid(entry: Mapping[str, Any]) -> FeatureGridRecord:
    height, width = (int(dim) for dim in entry["size"])
    return FeatureGridRecord(
        source=text_of(entry["source"]),
        pool=text_of(entry["pool"]),
        layout=text_of(entry["layout"]),
        channels=int(entry["channels"]),
        size=(height, width),
        axes=tuple(int(axis) for axis in entry["axes"]),
        note=text_of(entry["note"]),
        cells=tuple(int(dim) for dim in entry.get("cells") or ()),
        frames=int(entry.get("frames", 0)),
        frames_outer=entry.get("frames_outer", False) is True,
    )


def _step(entry: Mapping[str, Any]) -> LiftStep:
    return LiftStep(
        op=text_of(entry["op"]),
        node=text_of(entry["node"]),
        output=text_of(entry["output"]),
        shape=tuple(int(dim) for dim in entry["shape"]),
        kind=_word(entry["kind"], StepKind),
        conditional=entry["conditional"] is True,
        detail=text_of(entry["detail"]),
        weights=_weights(entry["weights"]) if entry.get("weights") is not None else None,
    )


def _weights(entry: Mapping[str, Any]) -> PoolWeights:
    sums = tuple(float(total) for total in entry["sums"])
    largest = entry.get("largest")
    largest = None if largest is None else float(largest)
    return PoolWeights(float(entry["least"]), float(entry["below_zero"]), sums, largest)


def _share(value: object) -> float | None:
    """A share from 0 to 1."""
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 1:
        raise ValueError(f"{value!r} is no share from 0 to 1")
    return float(value)


def _axis(value: object) -> int | str:
    """A length, or the name of an open axis; null, which names none, is ``?``."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    return "?" if value is None else text_of(value)


def _word(value: object, choices: Any) -> Any:
    """One of a `Literal`'s words."""
    words = get_args(choices)
    if value not in words:
        raise ValueError(f"{value!r} is none of {', '.join(words)}")
    return value


def _damaged(what: str, why: str) -> ModelError:
    return ModelError(
        f"{what}: its record of lifted heads ({HEADS_KEY}) is damaged: {why}. Rewrite the original again."
    )


def _pool(text: str) -> str:
    """What a head's logits are pooled by; of a fitted pool its text, which the file's own has to be equal to."""
    return text if text.startswith("fitted ") else parse_aggregator(text).key
