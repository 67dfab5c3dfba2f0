"""`repool --fit`: a pool fitted on one half of labelled images, judged by the other, and written where it holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from onnx_gapmil.aggregate.aggregator import Aggregator
from onnx_gapmil.aggregate.fitted import FittedPool
from onnx_gapmil.auditing.preparation import classifier_of, prepare
from onnx_gapmil.errors import InputError
from onnx_gapmil.files.guarding import protect, watched_reads
from onnx_gapmil.files.wording import points_range
from onnx_gapmil.fitting.pooling.judging import judge, share_difference
from onnx_gapmil.fitting.pooling.learning import Learner
from onnx_gapmil.fitting.pooling.solving import require_solver
from onnx_gapmil.fitting.pooling.splitting import deal
from onnx_gapmil.lift.tokens.modes import mode_of
from onnx_gapmil.metrics.clustered import grouped
from onnx_gapmil.rewriting.repooled.building import repool_graph
from onnx_gapmil.rewriting.repooled.layer import layer_of
from onnx_gapmil.rewriting.repooling import head_to_fit, repool
from onnx_gapmil.rewriting.saving import beside_model, require_place
from onnx_gapmil.validation.refitting.collecting import Trunk, collect
from onnx_gapmil.validation.refitting.images import fit_images
from onnx_gapmil.validation.refitting.result import FitData, PoolFit, Unseen

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from onnx_gapmil.auditing.preparation import PreparedData
    from onnx_gapmil.fitting.pooling.judging import Judgement
    from onnx_gapmil.fitting.pooling.learning import Learned, Material
    from onnx_gapmil.lift.heads import LiftedHead
    from onnx_gapmil.prediction.classifier import Classifier
    from onnx_gapmil.rewriting.analysis import Analysis
    from onnx_gapmil.rewriting.repool_result import Repool
    from onnx_gapmil.validation.refitting.images import FitImages
    from onnx_gapmil.validation.refitting.request import FitRequest

Rows = npt.NDArray[np.intp]

#: Images for each weight that is free, below which a fit is refused.
_IMAGES_A_WEIGHT = 10
#: Folds of classes that a retrained head is judged on without having seen them.
_CLASS_FOLDS = 4


def refit(
    request: FitRequest,
    *,
    announce: Callable[[Classifier, PreparedData], None] = lambda *_: None,
    progress: Callable[[int], None] = lambda _: None,
    note: Callable[[str], None] = lambda _: None,
) -> PoolFit:
    """Fit a pool, judge it, and write the model where the judgement allows it.

    Args:
        request: what was asked for.
        announce: is told what was decided before the first image is run.
        progress: is told how many images were run.
        note: is told what is being done after that.

    Returns:
        The fit with its judgement. Its model is proved as `repool` proves it.

    Raises:
        InputError: model, data, labels, preprocessing or place will not do; or there are too few images.
        UnsupportedHeadError: the head cannot be lifted or repooled.
        ProofError: the proof failed, and nothing is written.
    """
    if request.wish.kind == "sac":
        raise InputError("auxiliary classifiers make a new output, and no pool: fit_auxiliary fits them.")
    require_solver()
    with watched_reads():
        asked = request.data
        protect(path for path in (asked.data, asked.labels, asked.names, asked.class_map) if path is not None)
        classifier = classifier_of(asked)
        source = classifier.rewrite.source
        path = request.output or beside_model(asked.model, "repooled")
        require_place(source, path, "repooled")
        analysis, head = head_to_fit(source, classifier.head.output, mode_of(asked.class_token))
        layer = layer_of(analysis, head) if request.wish.needs_features else None
        _require_writable(request, analysis, head)
        prepared = prepare(classifier, asked)
        images = fit_images(prepared.samples, classifier.reading, classifier.logits, request.group, request.seed)
        images.require_enough()
        alone = head.logits.activation == "sigmoid" or head.scores.channels == 1
        _require_images(request, head, int((~images.held_out).sum()))
        announce(classifier, prepared)
        trunk = Trunk(classifier, prepared.preprocess.preprocess, asked.batch, alone, layer)
        material, images, failures = collect(trunk, images, request.wish, budget=request.budget, progress=progress)
        images.require_enough()
        found = _fitted(request, classifier, prepared, material, images, failures, note)
    return found if found.reason else found.with_model(_written(request, found, path, classifier.head.output))


def _written(request: FitRequest, found: PoolFit, path: Path, output: str) -> Repool:
    asked = request.data
    return repool(asked.model, found.pool, path, head=output, class_token=asked.class_token)


def _require_writable(request: FitRequest, analysis: Analysis, head: LiftedHead) -> None:
    """Refuse what cannot be written before any image is read.

    Raises:
        UnsupportedHeadError: the head's logits cannot be replaced.
        InputError: such a pool does not fit the head.
    """
    wish, classes = request.wish, head.scores.channels
    arrays = {"scale": np.ones(1), "bias": np.zeros(classes)}
    aggregators: tuple[Aggregator, ...] = ()
    if head.order is not None:
        raise InputError(
            f"output '{head.outputs[0]}' has its classes in another order than its logits, or only some of them, and a "
            "pool is fitted for all logits; fit a model whose output has them as they are."
        )
    if wish.kind.startswith("flex"):
        height, width = head.scores.size
        shape = (height, width) if wish.needs_grid else (head.features[0].channels, height, width)
        arrays["positions"] = np.full(shape, 1.0 / (height * width))
    elif wish.kind == "mix":
        aggregators = tuple(Aggregator(name) for name in ("topk", "median", "prob_mean"))
        arrays["scale"] = np.ones(len(aggregators))
    else:
        aggregators = (wish.aggregator,)
    if wish.needs_features:
        arrays["weight"] = np.zeros((classes, head.features[0].channels))
        arrays["offset"] = np.zeros(classes)
    pool = FittedPool(wish.kind, aggregators, arrays)
    repool_graph(analysis.source, {head.output: pool}, class_token=head.class_token)


def _require_images(request: FitRequest, head: LiftedHead, images: int) -> None:
    """Refuse a fit of many weights by few images.

    Raises:
        InputError: it is one.
    """
    wish = request.wish
    positions = head.scores.size[0] * head.scores.size[1]
    weights = positions * head.features[0].channels if wish.kind in ("flex:channel", "flex:softmax") else 0
    if wish.kind == "flex" and request.ridge == 0:
        weights = positions
    if weights and images < _IMAGES_A_WEIGHT * weights and not request.force:
        raise InputError(
            f"'{wish.key}' fits {weights:,} weights, and {images:,} images are to fit it by: fewer than "
            f"{_IMAGES_A_WEIGHT} a weight, from which it learns their noise; fit 'flex' or 'mix' instead, or insist "
            "with --force."
        )


def _fitted(
    request: FitRequest,
    classifier: Classifier,
    prepared: PreparedData,
    material: Material,
    images: FitImages,
    failures: list[str],
    note: Callable[[str], None],
) -> PoolFit:
    """The fit in memory, judged."""
    seen, others = np.flatnonzero(~images.held_out), np.flatnonzero(images.held_out)
    learner = Learner(request.wish, material, ridge=request.ridge, seed=request.seed + 1)
    note(f"Fitting '{request.wish.key}' to {len(seen):,} images.")
    learned = learner.learn(seen)
    judgement = judge(
        learned.answers(material, others), material.likelihood, others, classifier.reading, images.groups[others]
    )
    folds = _by_folds(request, learner, material, classifier, note) if request.folds else None
    unseen = None
    if request.wish.kind == "head" and classifier.reading.kind == "one-of-many":
        note("Judging the head on classes that it has seen no image of.")
        unseen = _on_unseen_classes(request, learned, material, seen, others)
    return PoolFit(
        model=classifier.name,
        fit=request.wish.key,
        under=learned.under.key,
        pool=learned.pool,
        ridge=learned.solution.ridge,
        costs=learned.costs,
        converged=learned.solution.converged,
        data=data_of(request, classifier, prepared, images, failures),
        held_out=judgement,
        folds=folds,
        fold_count=request.folds,
        unseen=unseen,
        reason=unwanted(request, judgement),
    )


def data_of(
    request: FitRequest, classifier: Classifier, prepared: PreparedData, images: FitImages, failures: list[str]
) -> FitData:
    """What a report says of the images."""
    truth = images.likelihood.truth[~images.held_out]
    without = tuple(np.flatnonzero(~truth.any(axis=0)).tolist())
    return FitData(
        source=prepared.data.source,
        preprocess=f"{prepared.preprocess.preprocess.describe()}; {prepared.preprocess.source}",
        class_map=prepared.class_map.source,
        images=len(images.samples),
        unreadable=tuple(failures),
        groups=len(np.unique(images.groups)),
        group_column=images.column,
        seed=request.seed,
        fitted=len(truth),
        without_images=without,
        without_images_names=tuple(map(classifier.class_names.name, without)),
        logits=truth.shape[1],
    )


def _by_folds(
    request: FitRequest,
    learner: Learner,
    material: Material,
    classifier: Classifier,
    note: Callable[[str], None],
) -> Judgement:
    """Each image answered by a fit to the other folds, whose ridge was found by these alone."""
    parts = deal(material.groups, material.strata, request.folds, request.seed)
    answers: dict[str, npt.NDArray[np.float64]] = {}
    for part in range(request.folds):
        note(f"Fold {part + 1} of {request.folds}.")
        own, others = np.flatnonzero(parts != part), np.flatnonzero(parts == part)
        for name, logits in learner.learn(own).answers(material, others).items():
            answers.setdefault(name, np.empty((len(parts), logits.shape[1])))[others] = logits
    return judge(answers, material.likelihood, np.arange(len(parts)), classifier.reading, material.groups)


def _on_unseen_classes(
    request: FitRequest, learned: Learned, material: Material, seen: Rows, others: Rows
) -> Unseen | None:
    """The same fit without the images of some classes, on held-out images of these; each fold of classes in turn."""
    if not np.isfinite(learned.solution.ridge):
        return None
    truth = material.likelihood.truth
    known = np.flatnonzero(truth[seen].any(axis=0))
    parts = np.full(truth.shape[1], -1)
    parts[known] = np.random.default_rng(request.seed).permutation(len(known)) % _CLASS_FOLDS
    learner = Learner(request.wish, material, ridge=learned.solution.ridge, seed=request.seed + 1)
    right: list[tuple[bool, bool]] = []
    groups: list[int] = []
    for part in range(_CLASS_FOLDS):
        left_out = parts == part
        own = seen[~truth[seen][:, left_out].any(axis=1)]
        judges = others[truth[others][:, left_out].any(axis=1) & ~truth[others][:, ~left_out].any(axis=1)]
        if not len(judges) or len(np.unique(truth[own], axis=0)) < 2:
            continue
        answers = learner.learn(own).answers(material, judges)
        hits = [_hits(answers[name], truth[judges]).tolist() for name in ("vendor", "fitted")]
        right += zip(*hits, strict=True)
        groups += material.groups[judges].tolist()
    if not right:
        return None
    vendor, fitted = np.array(right, dtype=np.bool_).T
    own = np.array(groups, dtype=np.intp)
    interval = share_difference(fitted, vendor, own if grouped(own) else None)
    old, new = float(vendor.mean()), float(fitted.mean())
    return Unseen(len(right), old, new, new - old, interval)


def _hits(logits: npt.NDArray[np.float64], truth: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    return np.asarray(truth[np.arange(len(truth)), logits.argmax(axis=1)])


def unwanted(request: FitRequest, judgement: Judgement) -> str:
    """Why a model is not written for what it answers; "" where it is."""
    found = judgement.difference(judgement.main)
    figure = judgement.main.replace("_", " ")
    what = f"{figure} of the fitted pool less the vendor's, {points_range(found.interval)} points"
    if request.force:
        return ""
    if found.interval[1] < 0:
        return f"the 95 % interval of the {what}, lies below 0: it is worse than the vendor's"
    if request.require_better and not found.interval[0] > 0:
        return f"the 95 % interval of the {what}, does not lie above 0, which --require-better asks for"
    return ""
