"""The vendor's model with its earlier maps pooled beside: what auxiliary classifiers are fitted to, and weighed by."""

from __future__ import annotations

import hashlib
from contextlib import closing
from dataclasses import replace
from operator import attrgetter
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from onnx_gapmil.data import check_sample
from onnx_gapmil.errors import DataError, ImageError, InputError
from onnx_gapmil.files.packed import Chosen, itself
from onnx_gapmil.rewriting.auxiliary.building import with_pooled_maps
from onnx_gapmil.rewriting.emission.emit import Emit
from onnx_gapmil.rewriting.in_memory import rewrite_in_memory
from onnx_gapmil.running.grid_session import GridSession
from onnx_gapmil.running.pipeline import iterate_batches
from onnx_gapmil.validation.refitting.weighing import TuningImage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import onnx

    from onnx_gapmil.auditing.preparation import PreparedData
    from onnx_gapmil.data import Sample
    from onnx_gapmil.fitting.pooling.auxiliary import AuxiliaryClassifier
    from onnx_gapmil.graph.loading import LoadedModel
    from onnx_gapmil.lift.heads import LiftedHead
    from onnx_gapmil.rewriting.analysis import Analysis
    from onnx_gapmil.rewriting.auxiliary.building import AuxiliaryLayer
    from onnx_gapmil.rewriting.auxiliary.maps import AuxiliaryMap
    from onnx_gapmil.running.pipeline import Photo
    from onnx_gapmil.running.prediction_grid import PredictionGrid
    from onnx_gapmil.validation.refitting.images import FitImages
    from onnx_gapmil.validation.refitting.request import FitRequest

Array = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]

#: Images of the fitted half by which it is settled how strongly the cells of each map vary.
_LOOKED_AT = 32


class Probe:
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
        self._session = session_of(request, loaded_with(analysis.source, proto))
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
        for place, entry, grids, row in self._run(images.samples, ()):
            if isinstance(entry, ImageError):
                failures.append(str(entry))
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
                for of, array in zip(self._maps, found[1:], strict=True):
                    pooled[of].append(np.array(array))
            progress(place + 1)
        if not good:
            raise DataError(f"Not one of the {len(failures)} images can be read. The first: {failures[0]}")
        kept = images.kept(np.array(good, dtype=np.intp))
        means = {entry: np.stack(rows).astype(np.float32) for entry, rows in pooled.items()}
        return np.stack(logits).astype(np.float32), means, kept, failures

    def scales(self, images: FitImages, fits: Mapping[AuxiliaryMap, AuxiliaryClassifier]) -> dict[AuxiliaryMap, float]:
        """Of the classifiers that know something, by what their cells have to be multiplied to vary as the vendor's do.

        What counts is how far cells lie from their mean within an image and a class, over the classes that a
        classifier knows, on images of the fitted half.
        """
        rows = np.random.default_rng(0).permutation(np.flatnonzero(~images.held_out))[:_LOOKED_AT]
        known = {entry: fit for entry, fit in fits.items() if fit.knows}
        own, others = dict.fromkeys(known, 0.0), dict.fromkeys(known, 0.0)
        for _, photo, grids, row in self._run([images.samples[place] for place in rows] if known else [], ("grid",)):
            if isinstance(photo, ImageError):
                continue
            vendor = _cells(grids[self._vendor], row)
            for entry, fit in known.items():
                answers = np.tensordot(fit.weight[fit.classes], _cells(grids[self._maps[entry]], row), 1)
                own[entry] += float(answers.var(axis=(1, 2)).mean())
                others[entry] += float(vendor[fit.classes].var(axis=(1, 2)).mean())
        return {entry: float(np.sqrt(others[entry] / own[entry])) for entry in known if own[entry] * others[entry] > 0}

    def tuning_images(
        self, images: FitImages, rows: Rows, layers: Sequence[Sequence[AuxiliaryLayer]]
    ) -> Iterator[TuningImage]:
        """Some images with boxes.

        Args:
            images: all of them.
            rows: which.
            layers: of each of these, the layers of weight 1 that were fitted without it.
        """
        finest = layers[0][0].map
        finer, coarse = (
            self._session.heads[head].at(self._preprocess.size).places for head in (self._maps[finest], self._vendor)
        )
        for place, photo, grids, row in self._run(Chosen(images.samples, rows.tolist(), itself), ("grid",)):
            if isinstance(photo, ImageError):
                continue
            try:
                sample = check_sample(images.samples[rows[place]], photo.geometry.image_size)
            except DataError:  # a box does not fit its image, which then says nothing of places
                continue
            maps = {layer.map.tensor: _cells(grids[self._maps[layer.map]], row) for layer in layers[place]}
            grid, rest = _cells(grids[self._vendor], row), maps[finest.tensor].shape
            yield TuningImage(
                sample,
                photo.geometry.of_cells(finer, (rest[1], rest[2])),
                photo.geometry.of_cells(coarse, (grid.shape[1], grid.shape[2])),
                np.asarray(grids[self._vendor].logits[row], dtype=np.float64),
                grid,
                maps,
                layers[place],
            )

    def _run(
        self, samples: Sequence[Sample], outputs: tuple[str, ...]
    ) -> Iterator[tuple[int, Photo | ImageError, Sequence[PredictionGrid], int]]:
        """For each image its place, what was read or why not, and all heads' arrays with the row that is its own."""
        if not samples:
            return
        paths = Chosen(samples, None, attrgetter("image"))
        batches = iterate_batches(
            self._session, self._preprocess, paths, batch=self._request.data.batch, outputs=outputs
        )
        place = 0
        with closing(batches):
            for answered in batches:
                row = 0
                for entry in answered.entries:
                    yield place, entry, answered.grids, row
                    row += not isinstance(entry, ImageError)
                    place += 1


def session_of(request: FitRequest, loaded: LoadedModel) -> GridSession:
    """Runs a model, and every head that it has."""
    made = rewrite_in_memory(loaded, emit=Emit(features=False), class_token=request.data.class_token)
    return GridSession(made, provider=request.data.provider, spinning=False, by_image=True)


def loaded_with(vendor: LoadedModel, proto: onnx.ModelProto) -> LoadedModel:
    """A model made of the vendor's, its weights where the vendor's lie; proofs of it are kept by its own digest."""
    data = proto.SerializeToString(deterministic=True)
    return replace(vendor, proto=proto, sha256=hashlib.sha256(data).hexdigest(), size=len(data))


def _cells(grids: PredictionGrid, row: int) -> Array:
    if grids.grid is None:
        raise ValueError("the graph did not give what was asked for")
    return np.asarray(grids.grid[row], dtype=np.float64)
