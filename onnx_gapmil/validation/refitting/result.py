"""What a fit gives: the judgement of its images, and the model where it was written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from onnx_gapmil.files.urls import said
from onnx_gapmil.rewriting.result import SCHEMA_VERSION

if TYPE_CHECKING:
    from onnx_gapmil.aggregate.fitted import FittedPool
    from onnx_gapmil.fitting.pooling.judging import Judgement
    from onnx_gapmil.rewriting.repool_result import Repool


@dataclass(frozen=True)
class FitData:
    """The images of a fit.

    Attributes:
        source: what was read and where.
        preprocess: how photos became inputs, and where that comes from.
        class_map: how labels became classes.
        images: that could be read.
        unreadable: a sentence on each of the others.
        groups: how many groups of images there are, those with the same content being one.
        group_column: what else grouped them; "" for nothing.
        seed: of the split.
        fitted: images of the half that was fitted.
        without_images: classes that no image of that half has, which keep what the vendor gave them.
        without_images_names: their names.
        logits: K.
    """

    source: str
    preprocess: str
    class_map: str
    images: int
    unreadable: tuple[str, ...]
    groups: int
    group_column: str
    seed: int
    fitted: int
    without_images: tuple[int, ...]
    without_images_names: tuple[str, ...]
    logits: int


@dataclass(frozen=True)
class Unseen:
    """A retrained head on classes that its fit had no image of: each fold of classes left out in turn.

    Attributes:
        images: of the held-out half, of classes that were left out.
        vendor: share that the vendor's model answers rightly.
        fitted: share that the fit does.
        difference: ``fitted - vendor``.
        interval: of the difference, 95 %, paired, by groups of images where some are of one group.
    """

    images: int
    vendor: float
    fitted: float
    difference: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class PoolFit:
    """A fitted pool and what it is worth.

    Attributes:
        model: the model's name.
        fit: what was fitted.
        under: the aggregator that the fit, and what is calibrated only, begin from.
        pool: the fitted pool.
        ridge: how strongly it is tied to where it began; infinite where nothing moves.
        costs: by each ridge that was tried the mean cost of images of the half that is fitted, by folds of it; empty
            where the ridge was given.
        converged: whether L-BFGS ended for there was nothing to gain.
        data: the images.
        held_out: the judgement by the half that neither fit nor tuning saw.
        folds: the judgement by folds of all images, each by a fit to the others; None where it was not asked for.
        fold_count: how many folds.
        unseen: of a retrained head, the classes that it saw no image of; None of others.
        reason: why the model was not written; "" where it was.
        repool: the model as written, with its proof; None where it was not.
    """

    model: str
    fit: str
    under: str
    pool: FittedPool
    ridge: float
    costs: Mapping[str, float]
    converged: bool
    data: FitData
    held_out: Judgement
    folds: Judgement | None = None
    fold_count: int = 0
    unseen: Unseen | None = None
    reason: str = ""
    repool: Repool | None = None

    @property
    def written(self) -> bool:
        """Whether the model was written, or may be."""
        return not self.reason

    def with_model(self, repool: Repool) -> PoolFit:
        """The same with its model."""
        return replace(self, repool=repool)

    def to_json(self) -> dict[str, Any]:
        """The report of ``repool --fit --json``."""
        path = self.repool.output_path if self.repool is not None else None
        return {
            "schema_version": SCHEMA_VERSION,
            "model": self.model,
            "output_path": said(path) if path is not None else None,
            "fit": self.fit,
            "under": self.under,
            "reason": self.reason or None,
            "ridge": self.ridge,
            "costs": dict(self.costs),
            "converged": self.converged,
            "data": {**vars(self.data), "unreadable": list(self.data.unreadable)},
            "held_out": self.held_out.to_json(),
            "folds": {"count": self.fold_count, **self.folds.to_json()} if self.folds is not None else None,
            "unseen_classes": vars(self.unseen) if self.unseen is not None else None,
            "pool": self.pool.to_json(),
            "repool": self.repool.to_json() if self.repool is not None else None,
        }
