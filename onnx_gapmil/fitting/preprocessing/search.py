"""`rank_presets`: try what may be true of a model's preprocessing on labelled images, in stages.

Three stages, each keeping what the one before chose:

1. colour order x normalization x class offset, resized as `base` does: all on `FIRST_IMAGES` images, then
   those that are not certainly worse than the best, `MAX_SURVIVORS` at most, on all;
2. resize rule and crop;
3. interpolation.

Candidates are compared by top-1, then top-5, then mean log-probability of the right classes, then the
share of cells whose best class is right. Among those that cannot be told from the best (see
`scoring.is_worse`) the first in documented order is taken, and `base` is the first of all. With 48 images,
3 colour channels and float input that is 928 forward passes at most; a photo that two rules prepare
alike is run once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

import numpy.typing as npt

from onnx_gapmil.errors import ImageError
from onnx_gapmil.files.blob import Source
from onnx_gapmil.fitting.preprocessing.candidates import Candidate, interpolations, normalizations, resizings
from onnx_gapmil.fitting.preprocessing.photos import Photos
from onnx_gapmil.fitting.preprocessing.ranking import Ranking
from onnx_gapmil.fitting.preprocessing.scoring import (
    RESIZING_SIGNIFICANCE,
    VALUES_SIGNIFICANCE,
    better_than_guessing,
    is_worse,
)
from onnx_gapmil.fitting.preprocessing.summary import summarize
from onnx_gapmil.fitting.preprocessing.trials import Entry, Trials
from onnx_gapmil.images.input_spec import InputSpec
from onnx_gapmil.images.preprocess import Preprocess
from onnx_gapmil.images.resolve import resolve_preprocess
from onnx_gapmil.running.prediction_grid import PredictionGrid

LabelledImage = tuple[Source, frozenset[int]]
"""An image file, and the labels that are right for it, before any offset; one is enough."""

FIRST_IMAGES = 16
"""Images on which all normalizations are tried; what is certainly worse on them is tried no further."""

MAX_SURVIVORS = 6
"""Normalizations that are tried on all images, beside the default."""


class GridRunner(Protocol):
    """What is needed of a `GridSession`."""

    @property
    def input(self) -> InputSpec:
        """The image input."""

    def run(self, batch: npt.NDArray[Any], /) -> Sequence[PredictionGrid]:
        """Logits (N, K) and grid (N, K, H, W) of each head."""


def rank_presets(
    session: GridRunner,
    samples: Sequence[LabelledImage],
    *,
    images: int = 48,
    base: Preprocess | None = None,
    offsets: Sequence[int] = (0,),
    head: int = 0,
    batch_size: int = 8,
    progress: Callable[[int], None] | None = None,
    independent: bool = False,
) -> Ranking:
    """Rank preprocessing candidates by how well the model does on labelled images.

    The stages and what decides are told at the head of this file. The same arguments give the same ranking.

    Args:
        session: a `GridSession`, or anything with its `input` and `run`.
        samples: labelled images. Of more than `images`, so many are taken at even distances, because data
            sets are often sorted by class.
        images: how many are used; two or three dozen decide.
        base: the documented default; without one, what `resolve_preprocess` infers from the input. Its full scale is
            that of the samples, and no candidate has another; the ranking's preprocessings leave it out.
        offsets: what may have to be added to the labels to make them the model's classes, likeliest first.
        head: which head's logits and grid are scored.
        batch_size: images in one run.
        progress: called after each run with the number of forward passes so far.
        independent: whether each class is present by itself, with its own sigmoid.

    Returns:
        The ranking. Files that cannot be read are named in it.

    Raises:
        ImageError: there are no samples, or none can be read.
        InputError: under no offset all labels are classes of the model.
        PreprocessError: `base` does not fit the model's input, or the input is no image.
        ValueError: an argument is out of its range, or a sample has no label.
    """
    _check(samples, images, offsets, batch_size)
    spec = session.input
    full_scale = base.full_scale if base is not None else None
    default = replace(base, full_scale=None) if base is not None else _inferred(spec)
    default.check_fits(spec)
    taken = evenly(samples, images)
    photos = Photos([path for path, _ in taken], full_scale)
    if len(photos) == 0:
        path, reason = photos.failed[0]
        raise ImageError(f"None of {len(taken)} labelled images can be read. The first, {path}: {reason}")
    trials = Trials(
        run=lambda batch: session.run(batch)[head],
        photos=photos,
        labels=[taken[position][1] for position in photos.kept],
        offsets=offsets,
        batch_size=batch_size,
        progress=progress,
        independent=independent,
    )
    entries, chosen = _search(trials, spec, default, base_is_known=base is not None)
    chances = [trials.chance(number) for number in range(len(photos))]
    complete = [entry for entry in entries if len(entry.outcomes) == len(photos)]
    best = max(complete, key=lambda entry: entry.score.key())
    conclusive = better_than_guessing(best.outcomes, chances, tries=len(entries))
    if not conclusive:
        chosen = next(entry for entry in entries if entry.candidate.preprocess == default)
    return summarize(entries, chosen, default=default, conclusive=conclusive, trials=trials)


def evenly(samples: Sequence[LabelledImage], count: int) -> list[LabelledImage]:
    """`count` of the samples at even distances, in their order; all of them if there are no more."""
    if len(samples) <= count:
        return list(samples)
    return [samples[position * len(samples) // count] for position in range(count)]


def _search(trials: Trials, spec: InputSpec, default: Preprocess, *, base_is_known: bool) -> tuple[list[Entry], Entry]:
    """All entries in the order in which they were tried, and the one that was chosen."""
    every = range(len(trials.photos))
    entries = _normalizations(trials, normalizations(spec, default))
    chosen = _pick([entry for entry in entries if len(entry.outcomes) == len(every)], VALUES_SIGNIFICANCE)
    for stage in (partial(resizings, spec=spec, base_is_known=base_is_known), interpolations):
        rivals = [
            chosen if candidate == chosen.candidate else _under(chosen.offset, trials.entries(candidate, every))
            for candidate in stage(chosen.candidate)
        ]
        entries += [entry for entry in rivals if all(entry.candidate != old.candidate for old in entries)]
        chosen = _pick(rivals, RESIZING_SIGNIFICANCE)
    return entries, chosen


def _under(offset: int, entries: Sequence[Entry]) -> Entry:
    return next(entry for entry in entries if entry.offset == offset)


def _normalizations(trials: Trials, candidates: list[Candidate]) -> list[Entry]:
    """Stage 1: every candidate, under every offset, on the first images; the best of them on all."""
    every = range(len(trials.photos))
    first = evenly_spread(len(every), FIRST_IMAGES)
    tried = [trials.entries(candidate, first) for candidate in candidates]
    best = max((entry for group in tried for entry in group), key=lambda entry: entry.score.key())
    hopeful = [
        group
        for group in tried
        if any(not is_worse(entry.outcomes, best.outcomes, VALUES_SIGNIFICANCE) for entry in group)
    ]
    hopeful.sort(key=lambda group: max(entry.score.key() for entry in group), reverse=True)
    survivors = [group[0].candidate for group in hopeful[:MAX_SURVIVORS]]
    return [
        entry
        for candidate, group in zip(candidates, tried, strict=True)
        for entry in (
            trials.entries(candidate, every) if candidate in survivors or candidate is candidates[0] else group
        )
    ]


def evenly_spread(total: int, count: int) -> list[int]:
    """`count` of the numbers below `total` at even distances; all of them if there are no more."""
    return sorted({position * total // count for position in range(count)}) if total > count else list(range(total))


def _pick(entries: Sequence[Entry], significance: float) -> Entry:
    """Of the entries that are not certainly worse than the best the first."""
    best = max(entries, key=lambda entry: entry.score.key())
    return next(entry for entry in entries if not is_worse(entry.outcomes, best.outcomes, significance))


def _inferred(spec: InputSpec) -> Preprocess:
    return resolve_preprocess(spec, request=None, model_path=None, metadata={}).preprocess


def _check(samples: Sequence[LabelledImage], images: int, offsets: Sequence[int], batch_size: int) -> None:
    if not samples:
        raise ImageError("No labelled image was given; the preprocessing is found by trying it on a few dozen.")
    if images < 1 or batch_size < 1 or not offsets:
        raise ValueError(f"images ({images}) and batch_size ({batch_size}) have to be 1 or more, offsets not empty")
    unlabelled = next((path for path, labels in samples if not labels), None)
    if unlabelled is not None:
        raise ValueError(f"{unlabelled} has no label")
