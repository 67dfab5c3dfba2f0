"""How the images of a comparison are divided: into lines of the journal, and those among shards."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from onnx_gapmil.running.pipeline import batch_size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from onnx_gapmil.running.shards import Shard
    from onnx_gapmil.validation.comparing.sides import Shot, Sides


def unit_of(sides: Sides, asked: int | None) -> int:
    """Images in a line of the journal: whole batches of both models, so that a resumed run feeds the very same."""
    sizes = batch_size(sides.old.classifier.session, asked), batch_size(sides.new.classifier.session, asked)
    return math.lcm(*sizes)


def shots_of(sides: Sides, unit: int, place: int) -> tuple[Shot, ...]:
    """The images of a line of the journal."""
    return tuple(sides.shots[place * unit : (place + 1) * unit])


def places_of(sides: Sides, unit: int, shard: Shard | None) -> Sequence[int]:
    """Of the lines that a run, or a shard of it, compares."""
    whole = range(-(-len(sides.shots) // unit))
    return whole if shard is None else shard.places([sides.shots[place * unit].name for place in whole])
