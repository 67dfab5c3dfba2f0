"""`repool --fit sac`: auxiliary classifiers on earlier maps, fitted, judged by where they see things, and written."""

from __future__ import annotations

import hashlib
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from onnx_gapmil.aggregate.aggregator import Aggregator
from onnx_gapmil.auditing.preparation import classifier_of, prepare
from onnx_gapmil.errors import DataError, ImageError, InputError
from onnx_gapmil.files.guarding import protect, watched_reads
from onnx_gapmil.files.wording import points_range
from onnx_gapmil.files.writing import reserved_file
from onnx_gapmil.fitting.pooling.auxiliary import fit_auxiliary
from onnx_gapmil.fitting.pooling.judging import figures_of, judge
from onnx_gapmil.fitting.pooling.learning import Learner, Material
from onnx_gapmil.fitting.pooling.solving import require_solver
from onnx_gapmil.fitting.pooling.wish import FitWish
from onnx_gapmil.lift.tokens.modes import mode_of
from onnx_gapmil.rewriting.auxiliary.building import (
    AuxiliaryLayer,
    add_finer_output,
    with_pooled_maps,
)
from onnx_gapmil.rewriting.auxiliary.maps import auxiliary_maps
from onnx_gapmil.rewriting.auxiliary.proving import prove_auxiliary
from onnx_gapmil.rewriting.emission.emit import Emit
from onnx_gapmil.rewriting.in_memory import rewrite_in_memory
from onnx_gapmil.rewriting.repooling import head_to_fit
from onnx_gapmil.rewriting.saving import beside_model, require_place, save_proto
from onnx_gapmil.running.grid_session import GridSession
from onnx_gapmil.running.pipeline import iterate_batches
from onnx_gapmil.validation.refitting.auxiliary_result import AuxiliaryFit, AuxiliaryHead
from onnx_gapmil.validation.refitting.images import fit_images
from onnx_gapmil.validation.refitting.placing import localized
from onnx_gapmil.validation.refitting.refit import data_of, unwanted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import onnx

    from onnx_gapmil.auditing.preparation import PreparedData
    from onnx_gapmil.data import Sample
    from onnx_gapmil.fitting.pooling.auxiliary import AuxiliaryClassifier
    from onnx_gapmil.fitting.pooling.judging import Judgement
    from onnx_gapmil.graph.loading import LoadedModel
    from onnx_gapmil.lift.heads import LiftedHead
    from onnx_gapmil.prediction.classifier import Classifier
    from onnx_gapmil.rewriting.analysis import Analysis
    from onnx_gapmil.rewriting.auxiliary.maps import AuxiliaryMap
    from onnx_gapmil.running.prediction_grid import PredictionGrid
    from onnx_gapmil.validation.refitting.auxiliary_result import Localized
    from onnx_gapmil.validation.refitting.images import FitImages
    from onnx_gapmil.validation.refitting.request import FitRequest

Array = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]

_MEAN = Aggregator("mean")
#: How strongly each map's cells vary within an image, relative to the vendor's: the small weight.
SHARE = 0.3
#: Images of the fitted half by which that is settled.
_LOOKED_AT = 32


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
        probe = _Probe(request, analysis, head, maps, prepared)
        vendor, pooled, images, failures = probe.collect(images, progress)
        images.require_enough()
        note(f"Fitting {len(maps)} auxiliary classifiers to {int((~images.held_out).sum()):,} images.")
        fits = _fitted(request, images, pooled)
        layers = probe.layers(images, fits)
        judgement = _judged(request, classifier, images, vendor, _added(layers, pooled, vendor))
        found = AuxiliaryFit(
            model=classifier.name,
            fit=request.wish.key,
            scores=request.scores,
            data=data_of(request, prepared, images, failures),
            heads=tuple(_head(entry, fit, images, pooled, classifier, judgement) for entry, fit in fits.items()),
            cells=(head.scores.size, layers[0].map.size if layers else head.scores.size),
            held_out=judgement,
            source=source.path,
        )
        if not layers:
            return replace(found, reason="no earlier map tells the classes of these images apart by its mean")
        made = add_finer_output(analysis, head, layers, scores=request.scores)
        note("Proving the finer grid.")
        proof = prove_auxiliary(analysis.source, made, layers, scores=request.scores)
        placed = None
        if any(sample.boxes for sample in images.samples):
            note("Measuring where both grids see the objects of the held-out images.")
            placed = _localized(
                request, classifier, prepared, images, _loaded(analysis.source, made.model), made.output
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


class _Probe:
    """The vendor's model with its earlier maps pooled beside: what the classifiers are fitted to."""

    def __init__(
        self,
        request: FitRequest,
        analysis: Analysis,
        head: LiftedHead,
        maps: tuple[AuxiliaryMap, ...],
        prepared: PreparedData,
    ) -> None:
        proto, outputs = with_pooled_maps(analysis, maps)
        self._request, self._preprocess = request, prepared.preprocess.preprocess
        self._session = _session(request, _loaded(analysis.source, proto))
        places = {entry.output: place for place, entry in enumerate(self._session.heads)}
        absent = [tensor for tensor, output in outputs.items() if output not in places]
        if absent:
            raise InputError(f"the mean of tensor '{absent[0]}' cannot be lifted; name another map.")
        self._vendor = places[head.output]
        self._maps = {entry: places[outputs[entry.tensor]] for entry in maps}

    def collect(
        self, images: FitImages, progress: Callable[[int], None]
    ) -> tuple[npt.NDArray[np.float32], dict[AuxiliaryMap, npt.NDArray[np.float32]], FitImages, list[str]]:
        """Run all images: the vendor's logits (N, K), each map's means (N, C), the images, and why others are not.

        Raises:
            DataError: of an image the model gives what is no number; or no image can be read.
        """
        good: list[int] = []
        logits: list[npt.NDArray[np.floating]] = []
        pooled: dict[AuxiliaryMap, list[npt.NDArray[np.floating]]] = {entry: [] for entry in self._maps}
        failures: list[str] = []
        for place, grids, row in self._run(images.samples, ()):
            if isinstance(grids, ImageError):
                failures.append(str(grids))
            else:
                found = [grids[self._vendor].logits[row], *(grids[at].logits[row] for at in self._maps.values())]
                if not all(np.isfinite(array).all() for array in found):
                    raise DataError(
                        f"{images.samples[place].name}: the model gives what is no number (NaN or infinity) for this "
                        "image, and nothing can be fitted to that; mend the image, or its preprocessing, or leave it "
                        "out."
                    )
                good.append(place)
                logits.append(np.array(found[0]))
                for entry, array in zip(self._maps, found[1:], strict=True):
                    pooled[entry].append(np.array(array))
            progress(place + 1)
        if not good:
            raise DataError(f"Not one of the {len(failures)} images can be read. The first: {failures[0]}")
        kept = images.kept(np.array(good, dtype=np.intp))
        means = {entry: np.stack(rows).astype(np.float32) for entry, rows in pooled.items()}
        return np.stack(logits).astype(np.float32), means, kept, failures

    def layers(self, images: FitImages, fits: Mapping[AuxiliaryMap, AuxiliaryClassifier]) -> list[AuxiliaryLayer]:
        """The layers of the classifiers that know something, so scaled that their cells vary `SHARE` times as much.

        What counts is how far cells lie from their mean within an image and a class, over the classes that a
        classifier knows, on images of the fitted half.
        """
        rows = np.random.default_rng(0).permutation(np.flatnonzero(~images.held_out))[:_LOOKED_AT]
        known = {entry: fit for entry, fit in fits.items() if fit.knows}
        own, others = dict.fromkeys(known, 0.0), dict.fromkeys(known, 0.0)
        for _, grids, row in self._run([images.samples[place] for place in rows] if known else [], ("grid",)):
            if isinstance(grids, ImageError):
                continue
            vendor = _cells(grids[self._vendor], row)
            for entry, fit in known.items():
                answers = fit.weight[fit.classes] @ _cells(grids[self._maps[entry]], row)
                own[entry] += float(answers.var(axis=1).mean())
                others[entry] += float(vendor[fit.classes].var(axis=1).mean())
        found = []
        for entry, fit in known.items():
            scale = SHARE * np.sqrt(others[entry] / own[entry]) if own[entry] > 0 else 0.0
            if scale > 0:
                weight, offset = (scale * array for array in (fit.weight, fit.offset))
                found.append(AuxiliaryLayer(entry, weight.astype(np.float32), offset.astype(np.float32)))
        return found

    def _run(
        self, samples: Sequence[Sample], outputs: tuple[str, ...]
    ) -> Iterator[tuple[int, Sequence[PredictionGrid] | ImageError, int]]:
        """For each image its place, and all heads' arrays with the row that is its own, or why it cannot be read."""
        if not samples:
            return
        paths = [sample.image for sample in samples]
        batches = iterate_batches(
            self._session, self._preprocess, paths, batch=self._request.data.batch, outputs=outputs
        )
        place = 0
        with closing(batches):
            for answered in batches:
                row = 0
                for entry in answered.entries:
                    if isinstance(entry, ImageError):
                        yield place, entry, 0
                    else:
                        yield place, answered.grids, row
                        row += 1
                    place += 1


def _cells(grids: PredictionGrid, row: int) -> Array:
    if grids.grid is None:
        raise ValueError("the graph did not give what was asked for")
    found = np.asarray(grids.grid[row], dtype=np.float64)
    return found.reshape(len(found), -1)


def _fitted(
    request: FitRequest, images: FitImages, pooled: Mapping[AuxiliaryMap, npt.NDArray[np.float32]]
) -> dict[AuxiliaryMap, AuxiliaryClassifier]:
    rows = np.flatnonzero(~images.held_out)
    return {
        entry: fit_auxiliary(
            means,
            images.likelihood,
            images.groups,
            images.strata,
            rows,
            ridge=request.ridge,
            seed=request.seed + 1,
        )
        for entry, means in pooled.items()
    }


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
    session = _session(request, made)
    places = {entry.output: place for place, entry in enumerate(session.heads)}
    rows = [row for row in np.flatnonzero(images.held_out) if images.samples[row].boxes]
    if not rows:
        return None
    return localized(
        session,
        (places[classifier.head.output], places[output]),
        prepared.preprocess.preprocess,
        [images.samples[row] for row in rows],
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


def _session(request: FitRequest, loaded: LoadedModel) -> GridSession:
    made = rewrite_in_memory(loaded, emit=Emit(features=False), class_token=request.data.class_token)
    return GridSession(made, provider=request.data.provider, spinning=False, by_image=True)


def _loaded(vendor: LoadedModel, proto: onnx.ModelProto) -> LoadedModel:
    """A model made of the vendor's, its weights where the vendor's lie; proofs of it are kept by its own digest."""
    data = proto.SerializeToString(deterministic=True)
    return replace(vendor, proto=proto, sha256=hashlib.sha256(data).hexdigest(), size=len(data))
