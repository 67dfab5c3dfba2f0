"""`repool --fit sac`: auxiliary classifiers on earlier maps, fitted, judged by where they see things, and written."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from onnx_gapmil.aggregate.aggregator import Aggregator
from onnx_gapmil.auditing.preparation import classifier_of, prepare
from onnx_gapmil.errors import InputError
from onnx_gapmil.files.guarding import protect, watched_reads
from onnx_gapmil.files.packed import Chosen, itself
from onnx_gapmil.files.wording import points_range
from onnx_gapmil.files.writing import reserved_file
from onnx_gapmil.fitting.pooling.auxiliary import fit_auxiliary
from onnx_gapmil.fitting.pooling.judging import figures_of, judge
from onnx_gapmil.fitting.pooling.learning import Learner, Material
from onnx_gapmil.fitting.pooling.solving import require_solver
from onnx_gapmil.fitting.pooling.splitting import deal
from onnx_gapmil.fitting.pooling.wish import FitWish
from onnx_gapmil.lift.tokens.modes import mode_of
from onnx_gapmil.rewriting.auxiliary.building import AuxiliaryLayer, add_finer_output
from onnx_gapmil.rewriting.auxiliary.maps import auxiliary_maps
from onnx_gapmil.rewriting.auxiliary.proving import prove_auxiliary
from onnx_gapmil.rewriting.repooling import head_to_fit
from onnx_gapmil.rewriting.saving import beside_model, require_place, save_proto
from onnx_gapmil.validation.refitting.auxiliary_result import AuxiliaryFit, AuxiliaryHead
from onnx_gapmil.validation.refitting.images import fit_images
from onnx_gapmil.validation.refitting.placing import localized
from onnx_gapmil.validation.refitting.probing import Probe, loaded_with, session_of
from onnx_gapmil.validation.refitting.refit import data_of, unwanted
from onnx_gapmil.validation.refitting.weighing import LEAST, USUAL, Weight, choose_weight, weighed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from onnx_gapmil.auditing.preparation import PreparedData
    from onnx_gapmil.fitting.pooling.auxiliary import AuxiliaryClassifier
    from onnx_gapmil.fitting.pooling.judging import Judgement
    from onnx_gapmil.graph.loading import LoadedModel
    from onnx_gapmil.lift.heads import LiftedHead
    from onnx_gapmil.prediction.classifier import Classifier
    from onnx_gapmil.rewriting.analysis import Analysis
    from onnx_gapmil.rewriting.auxiliary.maps import AuxiliaryMap
    from onnx_gapmil.validation.refitting.auxiliary_result import Localized
    from onnx_gapmil.validation.refitting.images import FitImages
    from onnx_gapmil.validation.refitting.request import FitRequest

Array = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]

_MEAN = Aggregator("mean")
#: Folds of the fitted half by which the weight is chosen.
_INNER = 4
_NO_WEIGHT = (
    "on the fitted half the boxes of the vendor's own grid fit the objects best: by no weight that was tried does the "
    "finer grid place them better"
)


def refit_auxiliary(
    request: FitRequest,
    *,
    announce: Callable[[Classifier, PreparedData], None] = lambda *_: None,
    progress: Callable[[int], None] = lambda _: None,
    note: Callable[[str], None] = lambda _: None,
) -> AuxiliaryFit:
    """Fit auxiliary classifiers, judge the finer grid, and write the model where the judgement allows it.

    Args:
        request: what was asked for; its wish is ``sac``.
        announce: is told what was decided before the first image is run.
        progress: is told how many images were run.
        note: is told what is being done after that.

    Returns:
        The classifiers with their judgement.

    Raises:
        InputError: model, data, labels, tensors, preprocessing or place will not do; or there are too few images.
        UnsupportedHeadError: the head cannot be lifted.
        ProofError: the proof failed, and nothing is written.
    """
    require_solver()
    if request.folds:
        raise InputError("auxiliary classifiers are judged by the held-out half alone; leave --folds out.")
    with watched_reads():
        asked = request.data
        protect(path for path in (asked.data, asked.labels, asked.names, asked.class_map) if path is not None)
        classifier = classifier_of(asked)
        source = classifier.rewrite.source
        path = request.output or beside_model(asked.model, "repooled")
        require_place(source, path, "repooled")
        analysis, head, maps = _prepared_model(request, classifier)
        prepared = prepare(classifier, asked)
        images = fit_images(prepared.samples, classifier.reading, classifier.logits, request.group, request.seed)
        images.require_enough()
        announce(classifier, prepared)
        probe = Probe(request, analysis, head, maps, prepared)
        vendor, pooled, images, failures = probe.collect(images, progress)
        images.require_enough()
        note(f"Fitting {len(maps)} auxiliary classifiers to {int((~images.held_out).sum()):,} images.")
        seen = np.flatnonzero(~images.held_out)
        fits = _fitted(request, images, pooled, seen, dict.fromkeys(maps, request.ridge))
        scales = probe.scales(images, fits)
        weight = _weight(request, classifier, probe, head, images, pooled, fits, scales)
        layers = weighed(_layers(fits, scales), weight.best_beside_none if request.force else weight.value)
        judgement = _judged(request, classifier, images, vendor, _added(layers, pooled, vendor))
        found = AuxiliaryFit(
            model=classifier.name,
            fit=request.wish.key,
            scores=request.scores,
            data=data_of(request, classifier, prepared, images, failures),
            heads=tuple(_head(entry, fit, images, pooled, classifier, judgement) for entry, fit in fits.items()),
            cells=(head.scores.size, layers[0].map.size if layers else head.scores.size),
            held_out=judgement,
            weight=weight if layers else None,
            source=source.path,
        )
        if not layers:
            return replace(found, reason="no earlier map tells the classes of these images apart by its mean")
        if weight.value == 0 and not request.force:
            return replace(found, reason=_NO_WEIGHT)
        made = add_finer_output(analysis, head, layers, scores=request.scores)
        note("Proving the finer grid.")
        proof = prove_auxiliary(analysis.source, made, layers, scores=request.scores)
        placed = None
        if any(sample.boxes for sample in images.samples):
            note("Measuring where both grids see the objects of the held-out images.")
            placed = _localized(
                request, classifier, prepared, images, loaded_with(analysis.source, made.model), made.output
            )
        found = replace(found, output=made.output, proof=proof, localized=placed)
        found = replace(found, reason=_reason(request, found))
        if found.reason:
            return found
        with reserved_file(path):
            save_proto(source, made.model, path, "repooled")
    return found.at(path)


def _prepared_model(
    request: FitRequest, classifier: Classifier
) -> tuple[Analysis, LiftedHead, tuple[AuxiliaryMap, ...]]:
    """The vendor's graph, the head, and the maps.

    Raises:
        InputError: the model was repooled, its classes are in another order than its logits, or the maps will not do.
    """
    if classifier.head.pool != "mean":
        raise InputError(
            f"{classifier.name} answers by '{classifier.head.pool}': fit auxiliary classifiers to the vendor's model."
        )
    source, asked = classifier.rewrite.source, request.data
    analysis, head = head_to_fit(source, classifier.head.output, mode_of(asked.class_token))
    if head.order is not None:
        raise InputError(
            f"output '{head.outputs[0]}' has its classes in another order than its logits, or only some of them, and "
            "auxiliary classifiers are fitted for all logits; fit a model whose output has them as they are."
        )
    return analysis, head, auxiliary_maps(analysis, head, request.wish.tensors)


def _fitted(
    request: FitRequest,
    images: FitImages,
    pooled: Mapping[AuxiliaryMap, npt.NDArray[np.float32]],
    rows: Rows,
    ridges: Mapping[AuxiliaryMap, float | None],
) -> dict[AuxiliaryMap, AuxiliaryClassifier]:
    """A classifier of each map, by some images; a ridge that is None is found by folds of these."""
    return {
        entry: fit_auxiliary(
            pooled[entry],
            images.likelihood,
            images.groups,
            images.strata,
            rows,
            ridge=ridge,
            seed=request.seed + 1,
        )
        for entry, ridge in ridges.items()
    }


def _layers(
    fits: Mapping[AuxiliaryMap, AuxiliaryClassifier], scales: Mapping[AuxiliaryMap, float]
) -> list[AuxiliaryLayer]:
    """The layers of weight 1: their cells vary as much as the vendor's."""
    return [
        AuxiliaryLayer(
            entry, (scale * fits[entry].weight).astype(np.float32), (scale * fits[entry].offset).astype(np.float32)
        )
        for entry, scale in scales.items()
    ]


def _weight(
    request: FitRequest,
    classifier: Classifier,
    probe: Probe,
    head: LiftedHead,
    images: FitImages,
    pooled: Mapping[AuxiliaryMap, npt.NDArray[np.float32]],
    fits: Mapping[AuxiliaryMap, AuxiliaryClassifier],
    scales: Mapping[AuxiliaryMap, float],
) -> Weight:
    """The weight that boxes of the fitted half choose; the usual one where too few of its images have some."""
    seen = np.flatnonzero(~images.held_out)
    boxed = np.array([bool(images.samples[row].boxes) for row in seen.tolist()])
    if not scales or boxed.sum() < LEAST:
        return Weight(USUAL)
    folds = deal(images.groups[seen], images.strata[seen], _INNER, request.seed + 1)
    ridges = {entry: fits[entry].ridge for entry in scales}
    layers = [_layers(_fitted(request, images, pooled, seen[folds != fold], ridges), scales) for fold in range(_INNER)]
    tuning = probe.tuning_images(images, seen[boxed], [layers[fold] for fold in folds[boxed]])
    return choose_weight(head, tuning, classifier.reading.of_classes)


def _added(
    layers: Sequence[AuxiliaryLayer],
    pooled: Mapping[AuxiliaryMap, npt.NDArray[np.float32]],
    vendor: npt.NDArray[np.float32],
) -> Array:
    """(N, K): the vendor's logits with those of the layers."""
    found = vendor.astype(np.float64)
    for layer in layers:
        found = found + pooled[layer.map].astype(np.float64) @ layer.weight.T.astype(np.float64) + layer.offset
    return found


def _judged(
    request: FitRequest, classifier: Classifier, images: FitImages, vendor: npt.NDArray[np.float32], added: Array
) -> Judgement:
    """The vendor's answers, these calibrated, and those with the maps in the scores, on the held-out half."""
    seen, others = np.flatnonzero(~images.held_out), np.flatnonzero(images.held_out)
    material = Material((_MEAN,), vendor[:, None], vendor, images.likelihood, images.groups, images.strata, (1, 1))
    learned = Learner(FitWish("calibrated", _MEAN), material, ridge=None, seed=request.seed + 1).learn(seen)
    answers = {**learned.answers(material, others), "fitted": added[others]}
    return judge(answers, images.likelihood, others, classifier.reading, images.groups[others])


def _head(
    entry: AuxiliaryMap,
    fit: AuxiliaryClassifier,
    images: FitImages,
    pooled: Mapping[AuxiliaryMap, npt.NDArray[np.float32]],
    classifier: Classifier,
    judgement: Judgement,
) -> AuxiliaryHead:
    """What is said of one classifier, its own answers on the held-out half among it."""
    others = np.flatnonzero(images.held_out)
    logits = fit.logits(pooled[entry][others])
    unknown = np.setdiff1d(np.arange(logits.shape[1]), fit.classes)
    logits[:, unknown] = logits.min(axis=1, keepdims=True) - 1.0  # it says nothing of them
    figure = getattr(figures_of(logits, images.likelihood, others, classifier.reading), judgement.main)
    return AuxiliaryHead(entry.tensor, entry.size, entry.channels, fit.ridge, fit.costs, fit.converged, float(figure))


def _localized(
    request: FitRequest,
    classifier: Classifier,
    prepared: PreparedData,
    images: FitImages,
    made: LoadedModel,
    output: str,
) -> Localized | None:
    """Both grids of the model as it would be written, on the held-out images with boxes."""
    session = session_of(request, made)
    places = {entry.output: place for place, entry in enumerate(session.heads)}
    rows = [row for row in np.flatnonzero(images.held_out).tolist() if images.samples[row].boxes]
    if not rows:
        return None
    return localized(
        session,
        (places[classifier.head.output], places[output]),
        prepared.preprocess.preprocess,
        Chosen(images.samples, rows, itself),
        images.groups[rows],
        classifier.reading,
        batch=request.data.batch,
    )


def _reason(request: FitRequest, found: AuxiliaryFit) -> str:
    """Why the model is not written; "" where it is."""
    if request.force:
        return ""
    if request.scores and (why := unwanted(request, found.held_out)):
        return why
    if found.localized is None:
        if request.require_better and not request.scores:
            return "no held-out image has a box, by which --require-better could tell that the finer grid is better"
        return ""
    span = found.localized.boxes.interval
    what = f"MaxBoxAccV2 of the finer grid less the vendor's, {points_range(span)} points"
    if span[1] < 0:
        return f"the 95 % interval of {what}, lies below 0: it is worse than the vendor's"
    if request.require_better and not request.scores and not span[0] > 0:
        return f"the 95 % interval of {what}, does not lie above 0, which --require-better asks for"
    return ""
