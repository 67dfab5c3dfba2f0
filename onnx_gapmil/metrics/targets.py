"""The objects of one image, grouped by what they are: the unit of pointing, localization and recall.

All boxes of the same classes make one target: two cats are one target "cat" with two boxes, and a box that may be
called tabby or tiger cat is one target with two classes. The *representative* of a target is the class of it that
scored highest, since any of them is right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from onnx_gapmil.images.geometry import Rectangle
from onnx_gapmil.metrics.overlap import ObjectBox


@dataclass(frozen=True)
class Target:
    """Objects of one kind.

    Attributes:
        classes: the model's classes that all mean it, ascending.
        boxes: (x0, y0, x1, y1) each, in pixels of the photo.
    """

    classes: tuple[int, ...]
    boxes: tuple[Rectangle, ...]

    def representative(self, logits: npt.NDArray[np.float64]) -> int:
        """The class with the highest logit, the lowest index among equal ones; ``logits`` is (K,)."""
        return self.classes[int(logits[list(self.classes)].argmax())]


def targets_of(boxes: Sequence[ObjectBox], labels: Sequence[int]) -> tuple[Target, ...]:
    """Group boxes by their classes, in the order of first appearance.

    Args:
        boxes: those of the image; one without classes has the image's labels.
        labels: of the image.
    """
    groups: dict[tuple[int, ...], list[Rectangle]] = {}
    for entry in boxes:
        groups.setdefault(tuple(sorted(set(entry.classes or labels))), []).append(entry.box)
    return tuple(Target(classes, tuple(own)) for classes, own in groups.items())


def labelled(targets: Sequence[Target], labels: Sequence[int]) -> tuple[Target, ...]:
    """Those that a label of the image names; the others lie in the photo but are not what the image is about."""
    named = set(labels)
    return tuple(target for target in targets if not named.isdisjoint(target.classes))
