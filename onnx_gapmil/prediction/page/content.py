"""What a page says: of a model once, of a photo the answer of each head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnx_gapmil.files.blob import Blob
from onnx_gapmil.images.preprocess import Preprocess
from onnx_gapmil.prediction.drawing import in_short, origin, without_folders
from onnx_gapmil.prediction.page.encoding import GRID_BUDGET, PHOTO_BUDGET, ShortGrid, photo_address, short_grid
from onnx_gapmil.rewriting.proved_record import read_proof

if TYPE_CHECKING:
    from onnx_gapmil.aggregate.reading import Reading
    from onnx_gapmil.images.resolve import ResolvedPreprocess
    from onnx_gapmil.prediction.answers import ImagePrediction
    from onnx_gapmil.prediction.classifier import Classifier
    from onnx_gapmil.prediction.head_answer import HeadPrediction
    from onnx_gapmil.rewriting.proof.checks import Figure
    from onnx_gapmil.rewriting.record import HeadRecord

_IN_MEMORY = "not run here: rewrite runs it"
_NOT_CLAIMED = "not claimed of such a head"
#: A longer side than this no screen shows of a photo on a page of the own machine.
_LIVE_SIDE = 1600
#: Characters of an argument above which it is not repeated in three lines.
_SHORT = 400
_FAST = (
    "Large JPEGs were decoded smaller than they are (--fast-decode), so that numbers differ a little from those of the "
    "whole photo, which the Python lines give."
)
#: Arguments whose text may be a path.
_FILES = frozenset({"preprocess", "names", "thresholds"})


@dataclass(frozen=True)
class ProofLine:
    """One proof of a head, for people.

    Attributes:
        name: ``sum``, ``cell`` or ``place``.
        passed: None where it was not run.
        text: what was measured, or why nothing was.
    """

    name: str
    passed: bool | None
    text: str


@dataclass(frozen=True)
class ChainLine:
    """One operator between the pool and the logits: see `onnx_gapmil.lift.verdict.LiftStep`."""

    op: str
    node: str
    shape: str
    detail: str
    conditional: bool


@dataclass(frozen=True, kw_only=True)
class PageHead:
    """What a page says of a head.

    Attributes:
        place: among the heads of the library's answer.
        output: the vendor's output.
        verdict: as it is said.
        conditional: whether a cell's logits depend on the whole photo too.
        position_dependent: whether each position has weights of its own.
        class_token: how far a class token is lifted; None where the head reads none.
        pool: what makes the image's logits of the cells'.
        activation: what makes scores of logits.
        reading: see `Reading.kind`.
        levels: of a multi-label head the logits above which classes are present: one for all, or one each.
        classes: K; 2 of one logit.
        names: of the classes; None where nothing names them.
        features: whether these are features and no classes.
        arranged: whether the rows and columns of the cells are known.
        note: what a reader of the grid must know.
        proofs: sum, cell and place.
        feature_grid: what is pooled.
        chain: from the pool to the logits.
    """

    place: int
    output: str
    verdict: str
    conditional: bool
    position_dependent: bool
    class_token: str | None
    pool: str
    activation: str
    reading: str
    levels: tuple[float, ...]
    classes: int
    names: tuple[str, ...] | None
    features: bool
    arranged: bool
    note: str
    proofs: tuple[ProofLine, ...]
    feature_grid: str
    chain: tuple[ChainLine, ...]


@dataclass(frozen=True, kw_only=True)
class PageModel:
    """What a page says of a model.

    Attributes:
        name: of its file.
        heads: that answer.
        preprocess: how photos become its inputs, in short.
        preprocess_source: where that comes from.
        guess: what of it was guessed, in a few words; "" where nothing was.
        warnings: what contradicts it.
        names_source: where the class names come from.
        provider: what it ran on.
        version: of the library.
        imports: what the library's lines import beside `Classifier` and `Aggregator`.
        arguments: what `Classifier` was given beside the model, as Python.
    """

    name: str
    heads: tuple[PageHead, ...]
    preprocess: str
    preprocess_source: str
    guess: str
    warnings: tuple[str, ...]
    names_source: str
    provider: str
    version: str
    imports: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class PageAnswer:
    """What a head says of a photo.

    Attributes:
        grid: (rows, columns).
        window: what the cells divide, in fractions of the photo: x0, y0, x1, y1; outside 0..1 where it was padded.
        values: the grid.
        placeless: the share of the answer that no place brings; None of a head without a class token.
    """

    grid: tuple[int, int]
    window: tuple[float, float, float, float]
    values: ShortGrid
    placeless: float | None


@dataclass(frozen=True, kw_only=True)
class PagePhoto:
    """A photo.

    Attributes:
        name: of its file.
        thumb: itself, as a ``data:`` address.
        size: (width, height) of that in pixels.
        full: (width, height) of the photo as it is stored, upright.
        within: whether it lies in something else, a shard or behind a URL, and is no file of that name.
        note: what is to be said of its samples.
        answers: by model, by head.
    """

    name: str
    thumb: str
    size: tuple[int, int]
    full: tuple[int, int]
    note: str
    within: bool = False
    answers: tuple[tuple[PageAnswer, ...], ...] = field(default=())


def page_model(
    model: Classifier,
    asked: Mapping[str, Any] | None = None,
    *,
    fast_decode: bool = False,
    used: ResolvedPreprocess | None = None,
    only: bool = False,
) -> PageModel:
    """What is said of a model.

    Args:
        model: whose photos are shown.
        asked: what it was made with beside the file, by `Classifier`'s arguments; None values are left out.
        fast_decode: large JPEGs were decoded smaller than they are.
        used: how photos became its inputs, where that is not as the model was made with.
        only: the model's own `Classifier.head` is shown, and no other.
    """
    from onnx_gapmil.version import __version__

    used = used or model.preprocess
    shown = _shown([head.features_of != () for head in model.heads])
    given = {key: value for key, value in (asked or {}).items() if value is not None}
    return PageModel(
        name=model.path.name if model.path is not None else model.name,
        heads=tuple(
            _page_head(model, place, model.heads[place], model.names_of_heads[place], model.readings[place])
            for place in ([model.heads.index(model.head)] if only else shown)
        ),
        preprocess=in_short(used.preprocess),
        preprocess_source=without_folders(origin(used), model.path),
        guess=used.guess,
        warnings=(*(without_folders(note, model.path) for note in used.notes), *([_FAST] if fast_decode else [])),
        names_source=without_folders(model.names.source, model.path),
        provider=str(model.session.provider["used"]),
        version=__version__,
        imports=("Preprocess",) if any(isinstance(value, Preprocess) for value in given.values()) else (),
        arguments=tuple(f"{key}={_python(value, key)}" for key, value in given.items()),
    )


def page_photo(
    found: Sequence[ImagePrediction],
    name: str,
    *,
    most: int | None = None,
    chosen: Sequence[int] = (),
    live: bool = False,
) -> PagePhoto:
    """A photo with its answers.

    Args:
        found: by each model, with photo and grid.
        name: of its file.
        most: how many classes to keep; see `short_grid`.
        chosen: classes to keep in any case.
        live: it goes to a page of the same machine, and need not be small.

    Raises:
        ValueError: photo or grid was not kept.
    """
    first = found[0]
    if first.photo is None or first.geometry is None:
        raise ValueError("the photo was not kept")
    thumb, size = photo_address(first.photo, None, _LIVE_SIDE) if live else photo_address(first.photo, PHOTO_BUDGET)
    height, width = first.geometry.image_size
    return PagePhoto(
        name=name,
        thumb=thumb,
        size=size,
        full=(width, height),
        note=first.note,
        within=isinstance(first.image, Blob),
        answers=tuple(
            tuple(
                _answer(one, one.heads[place], most, chosen, None if live else GRID_BUDGET)
                for place in _shown([head.features_of != () for head in one.heads])
            )
            for one in found
        ),
    )


def _shown(features: Sequence[bool]) -> list[int]:
    """Which heads a page shows: those of classes, or features where there is nothing else."""
    return [place for place, made in enumerate(features) if not made] or list(range(len(features)))


def _answer(
    found: ImagePrediction, head: HeadPrediction, most: int | None, chosen: Sequence[int], budget: int | None
) -> PageAnswer:
    if head.grid is None:
        raise ValueError("the grid was not kept")
    geometry = found.geometry_of(head)
    height, width = geometry.image_size
    x0, y0 = geometry.to_image(0.0, 0.0)
    x1, y1 = geometry.to_image(float(geometry.input_size[1]), float(geometry.input_size[0]))
    rows, columns = head.plane if len(head.grid_shape) == 2 else (1, head.grid[0].size)
    grid = head.grid.reshape(len(head.grid), rows, columns)
    kept = [index for index in chosen if index < len(head.grid)]
    return PageAnswer(
        grid=(rows, columns),
        window=(x0 / width, y0 / height, x1 / width, y1 / height),
        values=short_grid(grid, head.logits, head.reading, most=most, chosen=kept, budget=budget),
        placeless=head.placeless_share,
    )


def _page_head(
    model: Classifier, place: int, head: HeadRecord, names: Sequence[str] | None, reading: Reading
) -> PageHead:
    grids = [
        f"{grid.channels} channels, {' × '.join(map(str, grid.shape))} cells, of {grid.source!r}, kept as {grid.layout}"
        for grid in head.feature_grids
    ]
    return PageHead(
        place=place,
        output=head.output,
        verdict=head.said_verdict,
        conditional=head.verdict == "conditional",
        position_dependent=head.position_dependent,
        class_token=head.class_token,
        pool=head.pool,
        activation=reading.activation,
        reading=reading.kind,
        levels=reading.thresholds if len(set(reading.thresholds)) > 1 else reading.thresholds[:1],
        classes=max(2, int(head.grid_shape[1])),
        names=None if names is None else tuple(names),
        features=head.features_of != (),
        arranged=head.arranged,
        note=head.note,
        proofs=_proofs(model, head),
        feature_grid="; ".join(grids),
        chain=tuple(
            ChainLine(step.op, step.node or step.output, _shape(step.shape), step.detail, step.conditional)
            for step in head.chain
        ),
    )


def _proofs(model: Classifier, head: HeadRecord) -> tuple[ProofLine, ...]:
    """What was proved of a head: in memory sum and place; of a rewritten file what its record claims."""
    own = head.verdict == "exact" and not head.position_dependent
    cell = ProofLine("cell", None, _IN_MEMORY if own else _NOT_CLAIMED)
    proof = model.session.proof
    if proof is None:
        record = read_proof(model.rewrite.source.proto) or {}
        checks = record.get("checks")
        return tuple(_claimed(name, checks if isinstance(checks, dict) else {}) for name in ("sum", "cell", "place"))
    return (
        _line("sum", proof.sums.get(head.output)),
        cell,
        _line("place", proof.places.get(head.output)),
    )


def _claimed(name: str, checks: Mapping[str, Any]) -> ProofLine:
    """A proof that a rewritten file's record tells of: a claim, which nothing here has run."""
    passed = checks.get(name)
    told = "passed" if passed is True else "failed" if passed is False else "not run"
    return ProofLine(name, None, f"{told}, by the file's own record" if name in checks else "not in the file's record")


def _line(name: str, figure: Figure | None) -> ProofLine:
    if figure is None:
        return ProofLine(name, None, "not run")
    if figure.passed is None:
        return ProofLine(name, None, f"not run: {figure.skipped}")
    if not figure.passed:
        return ProofLine(name, False, "; ".join(figure.failures))
    measured = "" if figure.measure is None else f"{figure.measure:.1e} (allowed {figure.allowed:.0e})"
    seen = f"by stripes of the image, {figure.detail}" if name == "place" and figure.detail else ""
    return ProofLine(name, True, seen or measured)


def _shape(shape: Sequence[int]) -> str:
    return " × ".join(["N", *map(str, shape[1:])]) if shape else ""


def _python(value: object, key: str) -> str:
    """An argument as Python; a path by its name alone, a long list by the argument's own name."""
    if isinstance(value, Path) or (isinstance(value, str) and key in _FILES):
        return repr(Path(value).name)
    text = repr(list(value) if isinstance(value, tuple) and key != "size" else value)
    return text if len(text) <= _SHORT else key
