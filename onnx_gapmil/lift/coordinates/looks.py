"""`Looks`: where the elements of one tensor look, in all inputs and along all of their axes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

import numpy as np

from onnx_gapmil.lift.coordinates.fields import (
    CONFLICT,
    NONE,
    Field,
    compact,
    constant_field,
    join,
)

#: An input's name and one of its axes.
Key = tuple[str, int]
#: The coordinate along each axis of each input; where one is absent, nothing of that input is seen.
View = dict[Key, Field]


@dataclass(frozen=True)
class Looks:
    """Where the elements of a tensor look.

    Attributes:
        shape: of the tensor, in the trace.
        views: nearly always one. The scores of an attention have two, those of its queries and those of its keys; which
            of them counts is known where they are used.
        why: what went wrong, for people, where states say that something did.
        attended: whether the places are those of an attention's queries alone: what it brings is of the places that the
            image makes it weigh most, and no skip connection keeps the map beside it.
        weighed: whether places were added up by a matrix that the image makes and that has no places itself: it may
            leave them where they are in one image and turn them in another, and weigh more than a skip connection.
    """

    shape: tuple[int, ...]
    views: tuple[View, ...] = field(default_factory=lambda: ({},))
    why: str = ""
    attended: bool = False
    weighed: bool = False

    @property
    def rank(self) -> int:
        """How many axes the tensor has."""
        return len(self.shape)

    @property
    def has_places(self) -> bool:
        """Whether any of its elements looks at a place."""
        return any(axis > 0 and found.has_numbers for view in self.views for (_, axis), found in view.items())

    def mapped(self, shape: tuple[int, ...], change: Callable[[Field], Field]) -> Looks:
        """The same change to every coordinate."""
        views = tuple({key: change(found) for key, found in view.items()} for view in self.views)
        return Looks(shape, views, self.why, self.attended)

    def moved(self, shape: tuple[int, ...], move: Callable[[np.ndarray], np.ndarray]) -> Looks:
        """The same movement of every coordinate's values."""
        return self.mapped(shape, lambda found: Field(compact(move(found.values)), found.step, found.coarse))


def unfolded(looks: Looks, frames: int, *, outer: bool) -> Looks:
    """What a tensor with frames folded into its batch sees, (N * frames, ...), as one of (N, frames, ...).

    Args:
        looks: of the tensor.
        frames: how many there are of each clip.
        outer: whether the frame is the slower of the two.
    """

    def apart(values: np.ndarray) -> np.ndarray:
        if values.shape[0] == 1:
            return values[None]
        if outer:
            return np.swapaxes(values.reshape(frames, -1, *values.shape[1:]), 0, 1)
        return values.reshape(-1, frames, *values.shape[1:])

    return looks.moved((looks.shape[0] // frames, frames, *looks.shape[1:]), apart)


def seen_nowhere(shape: tuple[int, ...]) -> Looks:
    """Where a constant looks."""
    return Looks(shape)


def pixels(name: str, shape: tuple[int, ...]) -> Looks:
    """Where the elements of an input look: at themselves."""
    view: View = {}
    for axis, dim in enumerate(shape):
        if dim > 1:
            ahead = [1] * len(shape)
            ahead[axis] = dim
            view[name, axis] = Field((np.arange(dim) + 0.5).reshape(ahead), 1.0)
    return Looks(shape, (view,))


def stated(parts: Iterable[Looks], shape: tuple[int, ...], state: float, why: str) -> Looks:
    """One state for all that a node's inputs see."""
    parts = list(parts)
    keys = {key for part in parts for view in part.views for key in view}
    reason = next((part.why for part in parts if part.why), why)
    return Looks(shape, ({key: constant_field(state, len(shape)) for key in keys},), reason)


def joined(parts: list[Looks], shape: tuple[int, ...], why: str = "") -> Looks:
    """What a pointwise operator sees of its operands, which broadcast."""
    parts = [part for part in parts if any(part.views)] or parts[:1]
    if not parts:
        return seen_nowhere(shape)
    result = _to_rank(parts[0], shape)
    for part in parts[1:]:
        other = _to_rank(part, shape)
        pairs = [(one, two) for one in result.views for two in other.views]
        # The two views of an attention's scores: a mask or a bias that only some of them agree with leaves the others.
        views = [join_views(one, two) for one, two in pairs]
        fitting = [view for view in views if not conflicts(view)]
        before, whys = conflicts_of(result, other), result.why or other.why
        result = Looks(shape, tuple((fitting or views)[:2]), whys)
        # The colours that a graph mixes before its trunk were no places; what joined places says more.
        if not fitting and (not whys or conflicts_of(result) - before):
            result = replace(result, why=why or whys)
    return result


def _to_rank(part: Looks, shape: tuple[int, ...]) -> Looks:
    """A leading axis for each that broadcasting adds."""
    missing = len(shape) - part.rank
    if missing <= 0:
        return Looks(shape, part.views, part.why)
    return part.mapped(
        shape, lambda found: Field(found.values.reshape((1,) * missing + found.values.shape), found.step, found.coarse)
    )


def join_views(one: View, two: View) -> View:
    """Coordinate by coordinate."""
    result = dict(one)
    for key, found in two.items():
        result[key] = join(result[key], found) if key in result else found
    return result


def look_the_same(one: Looks, two: Looks) -> bool:
    """Whether two tensors have the same shape, and each of their elements looks at the same."""
    return (
        one.shape == two.shape
        and len(one.views) == len(two.views)
        and all(
            first.keys() == second.keys() and all(np.array_equal(first[at].values, second[at].values) for at in first)
            for first, second in zip(one.views, two.views, strict=True)
        )
    )


def conflicts(view: View) -> bool:
    """Whether places that differ were joined."""
    return any((found.values == CONFLICT).any() for found in view.values())


def conflicts_of(*parts: Looks) -> set[Key]:
    """The coordinates of tensors in which places that differ were joined."""
    return {key for part in parts for view in part.views for key, found in view.items() if conflicts({key: found})}


def values_of(view: View, key: Key, rank: int) -> Field:
    """A coordinate of a view; `NONE` where it has none."""
    return view[key] if key in view else constant_field(NONE, rank)
