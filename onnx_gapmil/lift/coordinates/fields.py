"""Fields of coordinates: for each element of a tensor, where along one axis of one input it looks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# What an element has in place of a number, as values far above any coordinate, so that NumPy and the runtime move
# them as they move numbers. In a join, the greater of two stands.
#: It is no function of the input: a constant.
NONE = 1e30
#: It is made of all places alike, by a mean, a maximum or an attention: nothing of a place is left.
POOLED = 2e30
#: It is a mixture of places by weights, such as a dense layer over positions: a permutation may hide in it.
MIXED = 3e30
#: The values that stand above this one win over numbers, too.
_YIELDS = 3.5e30
#: Two places that differ were added, or otherwise joined.
CONFLICT = 4e30
#: It was taken from a place that the image decides: sorted, sampled at a predicted box.
SAMPLED = 5e30
#: It comes from an operator that is not followed.
UNKNOWN = 6e30
#: What makes it is chosen by a size that the file leaves open, or by the image: what holds in the trace, or of the
#: noise of a proof, may not hold of another batch or image.
DECIDED = 7e30

_NUMBERS = 1e29
#: Places are the same where they differ by less than this part of a step: TensorFlow's SAME padding and the shortcuts
#: of ResNet-D differ by half a step.
_SAME = 0.76
_NOISE = 1e-6
#: By which part single precision may bend a straight line.
_EVEN = 1e-3


@dataclass(frozen=True)
class Field:
    """One coordinate of every element of a tensor.

    Attributes:
        values: array of the tensor's rank, of length 1 along every axis that the coordinate is constant along.
        step: distance of neighbouring places, in pixels.
        coarse: where a map was upsampled, the distance that its places had before: finer it does not know them. 0 of a
            map that was not.
    """

    values: np.ndarray
    step: float
    coarse: float = 0.0

    @property
    def has_numbers(self) -> bool:
        """Whether any element has a place."""
        return bool(is_number(self.values).any())

    def varies(self, axis: int) -> bool:
        """Whether it differs along an axis."""
        return bool(self.values.shape[axis] > 1)


def is_number(values: np.ndarray) -> np.ndarray:
    """Which values are places, and no states."""
    result: np.ndarray = values < _NUMBERS
    return result


def constant_field(state: float, rank: int) -> Field:
    """The same state everywhere."""
    return Field(np.full((1,) * rank, state), 1.0)


def compact(values: np.ndarray) -> np.ndarray:
    """The same values, of length 1 along every axis that they are constant along."""
    for axis, dim in enumerate(values.shape):
        if dim > 1:
            first = values[(slice(None),) * axis + (slice(0, 1),)]
            if (np.abs(values - first) < _NOISE).all():
                values = first
    return values


def join(first: Field, second: Field) -> Field:
    """What an element sees that is made of two others: the same place, or a conflict.

    States yield to numbers, unless they say that places are wrong. That is how a gate, a mixer beside a skip
    connection and a bias are passed.
    """
    one, two = first.values, second.values
    if one is two or (one.shape == two.shape and np.array_equal(one, two)):
        return first if first.step >= second.step else second
    left, right = is_number(one), is_number(two)
    steps = [field.step for field, numbers in ((first, left), (second, right)) if numbers.any()]
    step = max(steps, default=1.0)
    # A stride takes the first of its pixels for the middle, and upsampling gives it back to all of them: HRNet and
    # feature pyramids add such a map to a finer one, half of the difference away. The finer one says where it looks.
    doubt = max(0.0, max(first.coarse, second.coarse) - step) / 2 if first.coarse != second.coarse else 0.0
    middle = (one + two) / 2 if first.coarse == second.coarse else one if first.coarse < second.coarse else two
    with np.errstate(over="ignore"):
        both = np.where(np.abs(one - two) <= _SAME * step + doubt, middle, CONFLICT)
    alone = np.where(left, np.where(two < _YIELDS, one, two), np.where(one < _YIELDS, two, one))
    states = np.maximum(one, two)
    values = np.where(left & right, both, np.where(left | right, alone, states))
    known = [field.coarse for field, numbers in ((first, left), (second, right)) if numbers.any()]
    return Field(compact(values), step, min(known, default=0.0))


def lattice_step(values: np.ndarray) -> float:
    """The usual distance of neighbours along whatever axis they differ; 0 where all are the same."""
    found = []
    for axis, dim in enumerate(values.shape):
        if dim > 1:
            steps = np.abs(np.diff(values, axis=axis))
            found.append(steps[(steps > _NOISE) & is_number(steps)])
    steps = np.concatenate(found) if found else np.zeros(0)
    return float(np.median(steps)) if len(steps) else 0.0


def contract(field: Field, axes: tuple[int, ...], lost: float) -> Field:
    """What a sum over axes sees: their mean place, if they are one place by the measure of the result.

    That does the channels of patches, of space-to-depth and of merged patches, and pools that are spelled out.

    Args:
        field: the coordinate.
        axes: the axes that are summed; they stay, with length 1.
        lost: the state of a sum over different places, `POOLED` or `MIXED`.
    """
    axes = tuple(axis for axis in axes if field.varies(axis))
    if not axes:
        return field
    values, numbers = field.values, is_number(field.values)
    count = numbers.sum(axis=axes, keepdims=True)
    mean = np.where(numbers, values, 0).sum(axis=axes, keepdims=True) / np.maximum(count, 1)
    mean = np.where(count > 0, mean, NONE)
    high = np.where(numbers, values, -np.inf).max(axis=axes, keepdims=True)
    low = np.where(numbers, values, np.inf).min(axis=axes, keepdims=True)
    state = np.where(numbers, 0, values).max(axis=axes, keepdims=True)
    step = lattice_step(mean)
    apart = high - low >= max(step, field.step) - _NOISE
    result = np.where(count == 0, state, np.where(state > _YIELDS, state, np.where(apart, lost, mean)))
    return Field(compact(result), max(step, field.step))


def extended(values: np.ndarray, axis: int, before: int, after: int) -> np.ndarray:
    """More elements at both ends of an axis, in the steps of the last ones: where padding would look."""
    if before <= 0 and after <= 0:
        return values
    moved = np.moveaxis(values, axis, -1)
    ends = []
    for edge, inner, count in ((0, 1, max(before, 0)), (-1, -2, max(after, 0))):
        last, next_to_last = moved[..., edge], moved[..., inner]
        step = np.where(is_number(last) & is_number(next_to_last), last - next_to_last, 0)
        ends.append(last[..., None] + step[..., None] * np.arange(1, count + 1))
    whole = np.concatenate([ends[0][..., ::-1], moved, ends[1]], axis=-1)
    return np.moveaxis(whole, -1, axis)


def divided(found: Field, axis: int) -> Field:
    """Runs of elements that look at one place, as nearest upsampling and pixel shuffles leave them, share it out.

    Left as stairs, a window over them or a sum with a finer map would make uneven steps of them.
    """
    values = found.values
    length = values.shape[axis]
    if length < 2 or not is_number(values).all():
        return found
    others = tuple(other for other in range(values.ndim) if other != axis)
    changes = np.flatnonzero((np.abs(np.diff(values, axis=axis)) > _NOISE).any(axis=others)) + 1
    run = length // (len(changes) + 1)
    if run < 2 or not np.array_equal(changes, np.arange(1, len(changes) + 1) * run) or length % run:
        return found
    stairs = np.take(values, np.arange(0, length, run), axis)
    if stairs.shape[axis] < 2:
        return found
    slope = np.repeat(np.gradient(stairs, axis=axis), run, axis)
    place = ((np.arange(length) % run + 0.5) / run - 0.5).reshape(
        [-1 if other == axis else 1 for other in range(values.ndim)]
    )
    return Field(values + slope * place, lattice_step(stairs) / run)


def straightened(values: np.ndarray, axis: int) -> np.ndarray:
    """A resized coordinate without the ends at which interpolation repeats the edge: they look in even steps, too."""
    steps = np.diff(values, axis=axis)
    usual = np.median(steps, axis=axis, keepdims=True)
    others = tuple(other for other in range(values.ndim) if other != axis)
    even = (np.abs(steps - usual) <= _EVEN * np.abs(usual)).all(axis=others)
    inner = np.flatnonzero(even)
    if len(inner) == 0 or not even[inner[0] : inner[-1] + 1].all() or len(inner) < len(even) / 2:
        return values
    places = np.arange(values.shape[axis]).reshape([-1 if other == axis else 1 for other in range(values.ndim)])
    first, last = int(inner[0]), int(inner[-1]) + 1
    start, end = (np.take(values, [at], axis) for at in (first, last))
    slope = (end - start) / (last - first)
    return np.where(
        places < first, start + (places - first) * slope, np.where(places > last, end + (places - last) * slope, values)
    )
