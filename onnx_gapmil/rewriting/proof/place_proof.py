"""The proof of place of a rewritten model, head by head."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from onnx_gapmil.errors import ModelError
from onnx_gapmil.graph.light import light_copy
from onnx_gapmil.graph.loading import load_small_external_data
from onnx_gapmil.graph.macs import work_of
from onnx_gapmil.images.places import AxisPlaces, Places
from onnx_gapmil.ort.cpu import cpu_session
from onnx_gapmil.ort.errors import explain
from onnx_gapmil.rewriting.proof.checks import Figure
from onnx_gapmil.rewriting.proof.joined import joined_channels
from onnx_gapmil.rewriting.proof.place import affordable, check_places
from onnx_gapmil.rewriting.proof.place_check import PlaceCheck
from onnx_gapmil.rewriting.proof.stimulus import MAX_STRIPES, image_axes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from onnx_gapmil.graph.loading import LoadedModel
    from onnx_gapmil.graph.trace import Trace
    from onnx_gapmil.rewriting.proof.stimulus import Noise
    from onnx_gapmil.rewriting.proof.whole_grids import WholeGrids
    from onnx_gapmil.rewriting.record import HeadRecord

#: Offset in cells from which traced first cells are held against those of a tiling.
_DOUBTFUL = 0.5
#: Images beside normal noise that must show the places of cells, where nothing but stripes says where they look.
_LIGHTS: tuple[Noise, ...] = ("bright", "dark")
#: Why places are not known that the queries of an attention have, and its values may not.
NOT_SHOWN = (
    "an attention, or another matrix that the image makes, chooses what its cells hold, no skip connection keeps the "
    "map beside it for sure, and stripes of the image do not show each cell to look where its query does"
)
#: Why giants are not run.
TOO_LARGE = "the model's weights exceed what a trial run may read, so that its head alone was run"


@dataclass(frozen=True)
class ProvedPlaces:
    """What a proof says of where the cells of a head look.

    Attributes:
        check: what was measured.
        places: as far as they are known: traced and not contradicted, or not traced and measured.
    """

    check: PlaceCheck
    places: Places

    def figure(self, output: str) -> Figure:
        """What the check says, as every proof does."""
        check = self.check
        failures = (f"output '{output}': {check.reason}.",) if check.passed is False else ()
        allowed = check.allowed if check.measure is not None else None
        return Figure(check.measure, allowed, check.skipped, failures, check.detail)


def prove_places(
    rewritten: LoadedModel,
    heads: Sequence[HeadRecord],
    *,
    lift: onnx.ModelProto,
    whole: WholeGrids,
    trace: Trace,
    claimed: bool = False,
) -> dict[str, ProvedPlaces]:
    """Whether the cells of each head look where its record says, by head's output.

    Where nothing could be traced (a Loop, an operator that is not known), cells that tile the image are tried.

    Args:
        rewritten: what is proved.
        heads: its heads.
        lift: the rewritten model as it is lifted here.
        whole: the names of the maps in it that grids are made of, which are run where ``rewritten`` does not give its
            features.
        trace: the shapes that the model is run with.
        claimed: whether the records stand as they are; else a grid whose steps are those of a tiling, but whose first
            cells are elsewhere, is known as a tiling where stripes show it to be one.
    """
    if not trace.measured:
        return {head.output: ProvedPlaces(PlaceCheck(skipped=TOO_LARGE), head.places) for head in heads}
    emitting = [head for head in heads if head.features is not None]
    others = {head.output: whole.features[head.output] for head in heads if head.features is None}
    maps = {head.output: (head.features,) for head in emitting if head.features is not None}
    found = _prove(rewritten, emitting, maps, trace, claimed=claimed)
    if others:  # the maps are tensors of what was lifted here
        model = replace(rewritten, proto=lift)
        rest = [head for head in heads if head.features is None]
        found |= _prove(model, rest, others, trace, claimed=claimed)
    return {head.output: found[head.output] for head in heads}


def _prove(
    model: LoadedModel, heads: Sequence[HeadRecord], maps: Mapping[str, tuple[str, ...]], trace: Trace, *, claimed: bool
) -> dict[str, ProvedPlaces]:
    if not heads:
        return {}
    session = _trunk(model, [name for head in heads for name in maps[head.output]])
    macs = work_of(model.proto.graph.node, trace.shapes).macs // max(1, trace.batch)
    stripes = affordable(macs)
    found = {}
    for head in heads:
        try:
            parts = joined_channels(model.proto, head.feature_grids, trace)
            found[head.output] = _check(session, head, maps[head.output], trace, stripes, parts, claimed=claimed)
        except ModelError as error:
            check = PlaceCheck(skipped=f"the model does not run on stripes: {error}")
            found[head.output] = ProvedPlaces(check, head.places)
    return found


def _check(
    session: Any,
    head: HeadRecord,
    names: tuple[str, ...],
    trace: Trace,
    stripes: int,
    parts: tuple[int, ...],
    *,
    claimed: bool,
) -> ProvedPlaces:
    cells = head.feature_grids[0].cells if head.feature_grids else ()

    def run(feeds: Mapping[str, np.ndarray]) -> np.ndarray:
        """The head's maps, one after the other along the channels."""
        try:
            found: list[np.ndarray] = session.run(list(names), dict(feeds))
        except Exception as error:
            raise ModelError(explain(error)) from error
        # The maps of a volume have their cells in one row within the file, and their own axes where they leave it.
        shaped = [array.reshape(*array.shape[:2], *cells) for array in found] if cells else found
        return shaped[0] if len(shaped) == 1 else np.concatenate(shaped, axis=1)

    tiling = _tiling(head, trace)
    if head.places.settled:
        return ProvedPlaces(PlaceCheck(skipped=f"the places are not known: {head.places.reason}"), head.places)
    places = head.places if head.places.known else tiling
    source = head.feature_grids[0].source if head.feature_grids else ""
    dtype = trace.dtypes.get(source, np.dtype(np.float32))
    # Where nothing was traced, or an attention chooses what cells hold, nothing but the stripes says where they look.
    attended = head.places.attended
    traced = head.places.known and not attended
    first, least = (stripes, 0) if traced else (MAX_STRIPES, MAX_STRIPES)
    checked = partial(
        check_places, run, trace.inputs, dtype=dtype, stripes=first, least=least, parts=parts, attended=attended
    )
    check = checked(places)
    if not claimed and check.away > _DOUBTFUL and _tiles(places, tiling):
        # The first cell by kernel energy is an estimate; what was trained may look at the middle of its tile.
        again = checked(tiling)
        places, check = (tiling, again) if again.passed and again.away < check.away else (places, check)
    if not traced and check.shown:
        check = _whatever_the_light(check, lambda kind: checked(places, kinds=(kind,)))
    if check.passed if traced else check.shown:
        return ProvedPlaces(check, replace(places, measured=check.measured))
    if not head.places.known and not check.mixed:
        skipped = f"the places are not known: {head.places.reason}"
        return ProvedPlaces(PlaceCheck(skipped=skipped, runs=check.runs), head.places)
    if attended and not check.mixed:
        return ProvedPlaces(PlaceCheck(skipped=NOT_SHOWN, runs=check.runs), Places.unknown(NOT_SHOWN))
    if check.passed is None:
        return ProvedPlaces(check, places)
    said = check.reason if check.mixed else f"stripes of the image move other cells: {check.reason}"
    return ProvedPlaces(check, Places.unknown(said))


def _whatever_the_light(check: PlaceCheck, checked: Callable[[Noise], PlaceCheck]) -> PlaceCheck:
    """A check that nothing but stripes stands behind: that of bright or of dark images, where these contradict it.

    What a graph does with a map may hang on the image as a whole (a matrix over its columns that brightness turns), and
    the mean of normal noise is always 0. Images that move nothing, as behind a ReLU, say nothing; and no single cell is
    asked, since fewer of them answer.
    """
    runs = check.runs
    for kind in _LIGHTS:
        other = checked(kind)
        runs += other.runs
        if other.passed is False:
            return replace(other, runs=runs)
    return replace(check, runs=runs)


def _tiles(places: Places, tiling: Places) -> bool:
    """Whether places have the steps of cells that divide the image evenly, wherever they begin."""
    pairs = ((places.rows, tiling.rows), (places.columns, tiling.columns))
    return places.input == tiling.input and all(
        one is not None and two is not None and math.isclose(one.step, two.step, rel_tol=0.01) for one, two in pairs
    )


def _tiling(head: HeadRecord, trace: Trace) -> Places:
    """Places of cells that divide the image evenly, which is what is drawn."""
    for entry in trace.inputs:
        axes = image_axes(entry.traced)
        if axes and head.feature_grids and not head.feature_grids[0].cells:
            rows, columns = (
                AxisPlaces.tiling(cells, entry.traced[axis])
                for cells, axis in zip(head.feature_grids[0].size, axes[0], strict=True)
            )
            return Places(True, entry.name, rows, columns)
    return Places.unknown("the model has no image among its inputs")


def _trunk(model: LoadedModel, maps: Sequence[str]) -> Any:
    """A session that gives maps alone, fused as it is deployed; only sums must be compared as the file spells them.

    The weights are used where they lie, and what stands behind the maps falls away.
    """
    model.require_weights()
    proto, weights = light_copy(model.proto, maps)
    load_small_external_data(proto, model.folder)
    return cpu_session(proto, model.folder, optimize=True, weights=weights, spinning=False)
