"""Is what is said of a rewritten model true? Sum, cells and places from outside, by ONNX Runtime and NumPy alone.

Nothing of the package's own proof is used: patches of the image are replaced, and the cells that move are looked at.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime

from benchmarks.adversary.net import PATCH
from onnx_gapmil.errors import GapmilError
from onnx_gapmil.lift.verdict import UnsupportedHeadError
from onnx_gapmil.rewriting.proof.report import ProofError
from onnx_gapmil.rewriting.verbs import rewrite

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.adversary.models import Trick
    from onnx_gapmil.rewriting.record import HeadRecord

#: Base images; a cell that is off (ReLU) in one may move in another.
_IMAGES = 3
#: How exactly the first cell is stated, in cells: where a network looks within its window is known to a quarter of one.
_STATED = 0.25
#: Share of patches that may seem to look elsewhere, and how far in cells: what a wide kernel blurs.
_FEW, _NEAR, _BLUR = 0.25, 0.76, 0.6


@dataclass(frozen=True)
class Outcome:
    """What became of a model.

    Attributes:
        kind: ``exact``, ``conditional``, ``refused``, or ``unproved`` where a rewrite failed its own proof.
        known: whether its places are said to be known.
        wrong: what is said and does not hold.
        detail: why it was refused, or its places are not known.
    """

    kind: str
    known: bool = False
    wrong: tuple[str, ...] = ()
    detail: str = ""


def check(trick: Trick) -> Outcome:
    """Rewrite a model, and hold what is said of it against what it does."""
    images = _images(trick)
    if not np.isfinite(_session(trick.model).run(None, {"x": images})[0]).all():
        return Outcome("refused", detail="the vendor's own answers are not numbers")
    try:
        made = rewrite(trick.model, write=False)
    except UnsupportedHeadError as error:
        return Outcome("refused", detail=f"{error.refusal.code}: {error.refusal.message}")
    except ProofError as error:
        return Outcome("unproved", detail=str(error))
    except GapmilError as error:
        return Outcome("refused", detail=f"{type(error).__name__}: {error}")
    head = made.heads[0]
    new, old = _session(made.model), _session(trick.model)
    names = [head.grid, head.logits, head.features, trick.model.graph.output[0].name]
    grid, logits, features, output = (np.asarray(found, np.float64) for found in new.run(names, {"x": images}))
    wrong = [*_sum(grid, logits), *_cells(trick, head, features, grid), *_order(old, images, output, logits)]
    wrong += _same_cells(trick, made.model, head, images, features)
    if head.places.known:
        wrong += _places(trick, head, new, images, features)
    return Outcome(head.verdict, head.places.known, tuple(wrong), head.places.reason)


def _images(trick: Trick) -> np.ndarray:
    shape = (_IMAGES, *trick.size, 3) if trick.last else (_IMAGES, 3, *trick.size)
    return np.random.default_rng(5).standard_normal(shape).astype(np.float32)


def _session(model: onnx.ModelProto) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _sum(grid: np.ndarray, logits: np.ndarray) -> list[str]:
    """The mean over cells is the logit, class by class."""
    errors = np.abs(grid.mean(axis=(2, 3)) - logits) / (np.abs(grid).max(axis=(0, 2, 3)) + 1e-6)
    return [f"sum: off by {errors.max():.1g} of its class's cells"] if errors.max() > 1e-4 else []


def _order(old: Any, images: np.ndarray, output: np.ndarray, logits: np.ndarray) -> list[str]:
    """The vendor's output is what it was, and its classes are the logits' in their order."""
    before = np.asarray(old.run(None, {"x": images})[0], np.float64)
    if not np.array_equal(before, output):
        return ["output changed"]
    if output.shape != logits.shape:
        return [f"order: {logits.shape[1]} logits for {output.shape[1]} classes"]
    ordered = np.take_along_axis(output, logits.argsort(axis=1), axis=1)
    return [] if (np.diff(ordered, axis=1) >= 0).all() else ["order: the logits' classes are not the output's"]


def _cells(trick: Trick, head: HeadRecord, features: np.ndarray, grid: np.ndarray) -> list[str]:
    """A cell of an exact head is the head's own answer to its features."""
    name = trick.head.graph.input[0].name
    if head.verdict != "exact" or head.position_dependent or trick.map is None:
        return []
    if features.shape[1] != trick.map.channels:
        return [f"features have {features.shape[1]} channels"]
    flat = np.moveaxis(features, 1, -1).reshape(-1, features.shape[1]).astype(np.float32)
    answers = np.asarray(_session(trick.head).run(None, {name: flat})[0], np.float64)[:, trick.classes]
    gap = np.abs(answers - np.moveaxis(grid, 1, -1).reshape(answers.shape)).max() / np.abs(grid).max()
    return [f"cell: differs by {gap:.1g} from the head's own answer"] if gap > 1e-3 else []


def _same_cells(
    trick: Trick, model: onnx.ModelProto, head: HeadRecord, images: np.ndarray, features: np.ndarray
) -> list[str]:
    """The features are the cells of the map that the head pools, each once, or of the one they are said to be of.

    A crop, a border or windows before the pool are walked through: then the features are of the map behind them, which
    may have as many cells as the pooled one (a border of two columns behind a crop of two, the largest of windows at
    every position), and the sum says whether they are weighed as the pool weighs them.
    """
    if trick.map is None or features.shape[1] != trick.map.channels or len(head.feature_grids) != 1:
        return []
    found = np.sort(features.reshape(*features.shape[:2], -1), axis=2)
    behind = head.feature_grids[0].source
    pooled = _tensor(trick.model, trick.map.name, images)
    alike = pooled.shape[2] * pooled.shape[3] == found.shape[2]
    if alike and np.allclose(np.sort(pooled.reshape(found.shape), axis=2), found, atol=1e-5):
        return []
    if behind == trick.map.name:
        return ["features are not the cells of the map"]
    # Where its channels lie is not asked: all of its numbers, image by image.
    said = _tensor(model, behind, images).reshape(len(images), -1)
    flat = np.sort(found.reshape(len(images), -1))
    same = said.shape == flat.shape and np.allclose(np.sort(said), flat, atol=1e-5)
    return [] if same else [f"features are not the cells of '{behind}', of which they are said to be"]


def _tensor(model: onnx.ModelProto, name: str, images: np.ndarray) -> np.ndarray:
    """One tensor of a model."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.output[:]
    copy.graph.output.append(onnx.ValueInfoProto(name=name))
    return np.asarray(_session(copy).run([name], {"x": images})[0], np.float64)


def _places(trick: Trick, head: HeadRecord, session: Any, images: np.ndarray, features: np.ndarray) -> list[str]:
    """Patches of the image move the cells that are said to look at them most, and each moves some."""
    rows, columns = head.places.rows, head.places.columns
    units = [side // PATCH for side in trick.size]
    moved = np.zeros((*units, *features.shape[2:]))
    for image, base, seed in zip(images, features, range(len(images)), strict=True):
        other = np.random.default_rng(100 + seed).standard_normal(image.shape).astype(np.float32)
        changed = np.repeat(image[None], units[0] * units[1], axis=0)
        for number, (i, j) in enumerate(np.ndindex(*units)):
            patch = slice(i * PATCH, (i + 1) * PATCH), slice(j * PATCH, (j + 1) * PATCH)
            part = (number, *patch) if trick.last else (number, slice(None), *patch)
            changed[part] = other[part[1:]]
        (found,) = session.run([head.features], {"x": changed})
        moved += ((np.asarray(found, np.float64) - base) ** 2).sum(axis=1).reshape(moved.shape)
    if not moved.any():  # a trunk that answers to nothing: it subtracts a map from itself
        return []
    off, silent, seen = [], [], 0
    nothing = 1e-10 * float((features**2).sum())
    for i, j in np.ndindex(*units):
        claims = [
            None if line is None else ((unit + 0.5) * PATCH - line.first) / line.step
            for line, unit in ((rows, i), (columns, j))
        ]
        cells = features.shape[2:]
        inside = all(claim is None or -0.5 < claim < side - 0.5 for claim, side in zip(claims, cells, strict=True))
        change = moved[i, j]
        if change.max() <= nothing:
            # A patch at the outer end of the first or last cell may lie beyond what those see of a map that was cut.
            well = all(
                claim is None or _STATED - 0.5 < claim < side - 0.5 - _STATED
                for claim, side in zip(claims, cells, strict=True)
            )
            # A cell of padding that lies beyond the image may reach a little into it.
            if well and all(
                line is None or 0 <= line.first + line.step * round(claim) <= side
                for line, claim, side in zip((rows, columns), claims, trick.size, strict=True)
                if claim is not None
            ):
                silent.append((i, j))
            continue
        if not inside:  # it may move the border, or nothing
            continue
        seen += 1
        # A patch is wider than the cells of a finer map, and what moves most of them is anywhere in it.
        away = _away(change, claims) / max(1.0, *(PATCH / line.step for line in (rows, columns) if line is not None))
        if away > _NEAR + (_BLUR if trick.wide else 0):
            off.append((away, i, j))
    wrong = []
    if seen and len(off) > _FEW * seen:
        away, i, j = max(off)
        wrong.append(f"place: {len(off)} of {seen} patches move cells elsewhere, ({i}, {j}) by {away:.1f}")
    if len(silent) > _FEW * max(1, seen + len(silent)):
        wrong.append(f"place: {len(silent)} patches that cells are said to look at move none, as {silent[0]}")
    return wrong


def _away(change: np.ndarray, claims: Sequence[float | None]) -> float:
    """How far the cell that moves most, or the middle of all that move, is from where it is said to be."""
    local = np.maximum(change - np.median(change), 0) if change.size > 4 else change
    local = local if local.max() > 0 else change
    peak = np.unravel_index(int(local.argmax()), local.shape)
    middle = [(np.arange(side) * local.sum(axis=1 - axis)).sum() / local.sum() for axis, side in enumerate(local.shape)]
    gaps = [
        max(
            (abs(float(seen) - claim) for seen, claim in zip(found, claims, strict=True) if claim is not None),
            default=0.0,
        )
        for found in (peak, middle)
    ]
    return min(gaps)
