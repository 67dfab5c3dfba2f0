"""Proof of place: do stripes of the input move the cells that are said to look at them, and no others in order?"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from onnx_gapmil.rewriting.proof.gaps import silent, unseen
from onnx_gapmil.rewriting.proof.holes import own_middle
from onnx_gapmil.rewriting.proof.looks import FEW, AxisLooks, AxisName, looks
from onnx_gapmil.rewriting.proof.one_axis import OneAxis
from onnx_gapmil.rewriting.proof.place_check import PlaceCheck
from onnx_gapmil.rewriting.proof.stimulus import MAX_STRIPES, Noise, Responses, Run, Stimulus, image_axes

if TYPE_CHECKING:
    from onnx_gapmil.graph.inputs import InputShape
    from onnx_gapmil.images.places import AxisPlaces, Places

#: Why nothing is known of a trunk whose numbers no image moves: its weights are all alike, or it is off.
NO_ANSWER = "the map answers to no stimulus"
#: Base images, at most.
_IMAGES = 4
#: Multiply-adds that the stripes of one base image may cost where fewer stripes do: 11 passes of a ResNet-50.
_BUDGET = 45_000_000_000
#: So many stripes a direction show all that more of them show, but crops by a cell: docs/benchmarks/stimulus.md.
_FEWEST = 5
#: Fewer stripes than cells must show them by this part of what is allowed; else all stripes are run.
_CLEAR = 0.75
#: What moves no cell by more than this part of what a stripe does moves them by a gate over the whole map, or not at
#: all; the weakest comb of a right map moves 0.27.
_NOTHING = 0.15
#: The same of a stripe: the border's move less.
_NO_STRIPE = 0.02
#: The same of a map that is joined with others: what rounding does to a constant.
_NO_PART = 1e-4
#: Share of the map's own size below which a change may be rounding, by the bytes of its type.
_ROUNDING = {2: 0.01, 4: 1e-6, 8: 1e-14}


def affordable(macs: int) -> int:
    """How many stripes a direction are tried first, of a model of so many multiply-adds an image."""
    return min(MAX_STRIPES, max(_FEWEST, (_BUDGET // max(1, macs) - 1) // 2))


def check_places(
    run: Run,
    inputs: Sequence[InputShape],
    places: Places,
    dtype: np.dtype,
    stripes: int = MAX_STRIPES,
    *,
    least: int = 0,
    parts: Sequence[int] = (),
    attended: bool = False,
    kinds: Sequence[Noise] = ("normal", "bytes"),
) -> PlaceCheck:
    """Whether the cells of a map look where they are said to look.

    One base image is run, and up to three more only where it disagrees; what they say is averaged. Where noise of one
    kind moves nothing, the next is tried. Of a model that is costly to run, fewer stripes than cells
    are enough where they pass clearly; else it is begun again with all.

    Args:
        run: the model, to the map.
        inputs: all of its inputs with concrete shapes.
        places: where the map's cells are said to look.
        dtype: the map's element type, for what is rounding.
        stripes: how many a direction are tried first, at most.
        least: how many there are at least, where nothing but the stripes says where cells look.
        parts: how many channels each of the maps has that the map was joined of: all of them must look there.
        attended: whether an attention chooses what each cell holds, for each image anew: then one base image is judged
            by itself. Where each looks elsewhere, their mean looks where the queries do.
        kinds: of the noise that images are made of.
    """
    if not places.known:
        return PlaceCheck(skipped=f"the places are not known: {places.reason}")
    entry = next((entry for entry in inputs if entry.name == places.input), None)
    if entry is None:
        return PlaceCheck(skipped=f"the model has no input '{places.input}'")
    claims = _claims(places)
    layouts: Sequence[tuple[int, ...]] = image_axes(entry.traced)
    if places.axes:  # no image: its axes are stated
        layouts = [tuple(places.axes.get(name, 0) for name in claims)]
    if not layouts:
        return PlaceCheck(skipped=f"the input '{places.input}' of shape {entry.traced} is no image")
    rounding = 0.0 if dtype.kind in "iu" else _ROUNDING.get(dtype.itemsize, 0.0)
    checks: list[PlaceCheck] = []
    for noise, axes in itertools.product(kinds, layouts):
        checks.append(
            _check_noise(run, inputs, places.input, noise, axes, claims, rounding, (least, stripes), parts, attended)
        )
        if checks[-1].skipped != NO_ANSWER and (checks[-1].passed or axes == layouts[-1]):
            break
    told = [check for check in checks if check.skipped != NO_ANSWER] or checks
    best = next((check for check in told if check.passed), told[0])
    return replace(best, runs=sum(check.runs for check in checks))


def _claims(places: Places) -> dict[AxisName, AxisPlaces | None]:
    """Where the cells along each axis of the map are said to look; None where nothing is said."""
    found: dict[AxisName, AxisPlaces | None] = {}
    if places.frames is not None:
        found["frames"] = places.frames
    if places.depth is not None:
        found["depth"] = places.depth
    return {**found, "rows": places.rows, "columns": places.columns}


def _check_noise(
    run: Run,
    inputs: Sequence[InputShape],
    image: str,
    noise: Noise,
    axes: tuple[int, ...],
    claims: Mapping[AxisName, AxisPlaces | None],
    rounding: float,
    bounds: tuple[int, int],
    parts: Sequence[int],
    attended: bool,
) -> PlaceCheck:
    """The check by base images of one kind of noise."""
    (least, stripes), check, runs = bounds, PlaceCheck(skipped=NO_ANSWER), 0
    seen: list[list[Responses | None]] = []
    for seed in range(_IMAGES):
        stimulus = Stimulus(run, inputs, image, noise, seed, alone=0 in axes, parts=parts)
        if not seed and stimulus.mixes_images():
            return PlaceCheck(mixed=True, runs=stimulus.runs)
        if not seed and stripes < MAX_STRIPES:
            few = _answers(stimulus, axes, claims, bounds, rounding)
            first = check if few is None else _check([few], claims)
            if few is not None and first.passed and first.share <= _CLEAR:
                first = _with_gaps(first, stimulus, axes, claims, few, rounding, costly=True)
            if few is None or first.leaves_out or (first.passed and first.share <= _CLEAR):
                return replace(first, runs=stimulus.runs)
        found = _answers(stimulus, axes, claims, (least, MAX_STRIPES), rounding)
        if found is not None:
            seen.append(found)
            check = _check(seen, claims)
            if any(axis.masked for axis in check.axes.values()):
                held = stimulus.held()
                seen = [[None if one is None else replace(one, held=held) for one in answers] for answers in seen]
                check = _check(seen, claims)
            if check.passed:
                check = _with_gaps(check, stimulus, axes, claims, found, rounding)
        runs += stimulus.runs
        if check.passed or attended or check.leaves_out or not seen or not any(seen[-1]):
            break
    return replace(check, runs=runs)


def _with_gaps(
    check: PlaceCheck,
    stimulus: Stimulus,
    axes: tuple[int, ...],
    claims: Mapping[AxisName, AxisPlaces | None],
    answers: Sequence[Responses | None],
    rounding: float,
    *,
    costly: bool = False,
) -> PlaceCheck:
    """A check that passed, with what lies between the cells of each axis, and in the middle of each cell."""
    found: dict[AxisName, AxisLooks] = {}
    for place, (axis, (name, claim), answer) in enumerate(zip(axes, claims.items(), answers, strict=True)):
        known = check.axes.get(name)
        if known is None or claim is None or answer is None:
            continue
        along = OneAxis(stimulus, axis, place, claim)
        flat = along.answers(answer)
        least, most = rounding * flat.level, float(flat.moved.max())
        none, nothing = silent(along, flat, max(least, _NO_STRIPE * most)), max(least, _NOTHING * most)
        share = 0.0 if none else unseen(along, flat, nothing, costly=costly)
        middle = 1.0 if none or share else own_middle(along, flat)
        found[name] = replace(known, unseen=share, silent=none, middle=min(known.middle, middle))
    of = check.axes | found
    return replace(
        check, rows=of.get("rows"), columns=of.get("columns"), depth=of.get("depth"), frames=of.get("frames")
    )


def _answers(
    stimulus: Stimulus,
    axes: tuple[int, ...],
    claims: Mapping[AxisName, AxisPlaces | None],
    bounds: tuple[int, int],
    rounding: float,
) -> list[Responses | None] | None:
    """What stripes along both axes move; None where those of one move nothing."""
    found: list[Responses | None] = []
    for axis, cells, claim in zip(axes, stimulus.size, claims.values(), strict=True):
        found.append(response := _stripes(stimulus, axis, cells, claim, bounds))
        if response is not None and not response.answered(rounding):
            return None
    return found


def _stripes(
    stimulus: Stimulus, axis: int, cells: int, claim: AxisPlaces | None, bounds: tuple[int, int]
) -> Responses | None:
    """The answers along one axis of the image; None where its cells have no places, or there is one."""
    if claim is None or cells == 1:
        return None
    # A stripe as wide as a cell moves that cell; few cells are seen better by two each.
    count = max(2 * cells if cells <= FEW else cells, round(stimulus.pixels(axis) / claim.step), bounds[0])
    return stimulus.stripes(axis, min(count, bounds[1], stimulus.pixels(axis)))


def _check(seen: Sequence[Sequence[Responses | None]], claims: Mapping[AxisName, AxisPlaces | None]) -> PlaceCheck:
    found: dict[AxisName, AxisLooks] = {}
    for axis, (name, claim) in enumerate(claims.items()):
        known = [answers[axis] for answers in seen]
        responses = [response for response in known if response is not None]
        if claim is not None and responses:
            found[name] = _axis_looks(responses, axis, len(claims), claim)
    check = PlaceCheck(found.get("rows"), found.get("columns"), depth=found.get("depth"), frames=found.get("frames"))
    return replace(check, skipped="the map has too few cells to tell") if check.passed is None else check


def _axis_looks(responses: Sequence[Responses], axis: int, count: int, claim: AxisPlaces) -> AxisLooks:
    """Where the cells along one axis of a map look; beside each of the others, of which the worst counts."""
    found = []
    for other in range(count):
        if other == axis:
            continue
        rest = tuple(1 + at for at in range(count) if at not in (axis, other))
        planes = [
            replace(
                response,
                moved=np.sqrt(np.mean(response.moved**2, axis=rest)),
                held=None
                if response.held is None
                else np.asarray(response.held.all(axis=tuple(at - 1 for at in rest))),
            )
            if rest
            else response
            for response in responses
        ]
        found.append(looks(planes, 0 if axis < other else 1, claim))
    worst = max(found, key=lambda entry: entry.swapped)
    return _joined_elsewhere(responses, axis, claim) or worst if count == 2 else worst


def _joined_elsewhere(responses: Sequence[Responses], axis: int, claim: AxisPlaces) -> AxisLooks | None:
    """What is seen of one of the maps that a map was joined of, where it looks in another order than the others.

    The mean over all channels hides the few of a map, or those with small numbers, which the head may weigh most.
    """
    found = []
    for number in range(len(responses[0].parts)):
        own = [replace(response, moved=response.parts[number]) for response in responses]
        if max(response.moved.max() for response in own) > _NO_PART * max(each.moved.max() for each in responses):
            found.append(looks(own, 0 if axis == 0 else 1, claim))
    return max((each for each in found if each.elsewhere), key=lambda each: each.measure, default=None)
