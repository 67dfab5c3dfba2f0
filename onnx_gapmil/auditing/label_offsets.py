"""Which number the model gives to the class that the labels call 0, by what it answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from onnx_gapmil.aggregate.two_classes import with_two_classes
from onnx_gapmil.files.wording import count
from onnx_gapmil.metrics.accuracy import label_ranks
from onnx_gapmil.running.pipeline import iterate_batches

if TYPE_CHECKING:
    from collections.abc import Sequence

    from onnx_gapmil.data import ClassMap, Sample
    from onnx_gapmil.images.preprocess import Preprocess
    from onnx_gapmil.running.grid_session import GridSession

#: Images that decide, spread evenly over the data set.
_IMAGES = 64


@dataclass(frozen=True)
class OffsetTrial:
    """How well each possible offset fits.

    Attributes:
        images: how many images were tried.
        right: for each offset, how many of them the model names rightly at top-1 and at top-5.
        offset: the one with the most at top-1, then at top-5, then the likeliest.
    """

    images: int
    right: dict[int, tuple[int, int]]
    offset: int

    @property
    def is_found(self) -> bool:
        """Whether the answers decide it: a tenth are right at top-1. Fewer are what chance and kin classes give."""
        return 10 * self.right[self.offset][0] >= self.images

    def sentence(self) -> str:
        """What was found, to be announced."""
        counts = "; ".join(
            f"{offset:+d}: {top1} at top-1, {top5} at top-5" for offset, (top1, top5) in self.right.items()
        )
        what = "Labels are the model's classes" if self.offset == 0 else f"Class = label {self.offset:+d}"
        how = "found out by" if self.is_found else "assumed, for hardly any offset fits"
        return f"{what}: {how} the model's answers to {count(self.images, 'image')} ({counts})."


def try_offsets(
    session: GridSession,
    preprocess: Preprocess,
    samples: Sequence[Sample],
    class_map: ClassMap,
    offsets: Sequence[int],
    *,
    head: int = 0,
) -> OffsetTrial:
    """Run a few images and count for each offset how many the model names rightly.

    Args:
        session: the model.
        preprocess: how photos become inputs.
        samples: the data set under `class_map`.
        class_map: has the offset that was assumed.
        offsets: those that are possible, the likeliest first.
        head: which of the session's heads answers.
    """
    step = max(1, len(samples) // _IMAGES)
    tried = samples[::step][:_IMAGES]
    known = class_map.offset or 0
    right = {offset: [0, 0] for offset in offsets}
    count = 0
    batches = iterate_batches(session, preprocess, [sample.image for sample in tried], outputs=())
    for batch in batches:
        for row, photo in enumerate(batch.photos):
            logits = with_two_classes(batch.grids[head].logits[row])
            count += 1
            for offset, hits in right.items():
                labels = [label - known + offset for label in tried[photo.place].labels]
                rank = label_ranks(logits, labels).min()
                hits[0] += int(rank < 1)
                hits[1] += int(rank < 5)
    best = max(offsets, key=lambda offset: (right[offset][0], right[offset][1], -list(offsets).index(offset)))
    return OffsetTrial(count, {offset: (hits[0], hits[1]) for offset, hits in right.items()}, best)
