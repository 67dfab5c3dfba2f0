"""The images of a fit: their labels as truths, which of them stay together, and which half judges."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from onnx_gapmil.errors import DataError, ImageError
from onnx_gapmil.files.packed import Chosen, itself
from onnx_gapmil.files.reading import read_bytes
from onnx_gapmil.files.wording import count
from onnx_gapmil.fitting.pooling.likelihood import Likelihood
from onnx_gapmil.fitting.pooling.splitting import deal, joined
from onnx_gapmil.images.decode import MAX_FILE_BYTES
from onnx_gapmil.metrics.multilabel import truth_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from onnx_gapmil.aggregate.reading import Reading
    from onnx_gapmil.data import Sample

#: Fewer images are no fit.
LEAST = 20
#: The column that groups images where none is named.
_GROUP = "group"


@dataclass(frozen=True, eq=False)
class FitImages:
    """Labelled images, split.

    Attributes:
        samples: N of them.
        likelihood: of their labels.
        groups: (N,), images of one group stay together.
        strata: (N,), the class by which they are dealt.
        held_out: (N,) bool, the half that judges.
        column: what grouped them beside their content; "" for nothing.
    """

    samples: Sequence[Sample]
    likelihood: Likelihood
    groups: npt.NDArray[np.intp]
    strata: npt.NDArray[np.intp]
    held_out: npt.NDArray[np.bool_]
    column: str

    def kept(self, rows: npt.NDArray[np.intp]) -> FitImages:
        """Some of them."""
        if len(rows) == len(self.samples):  # its truths are large, and need not be there twice
            return self
        likelihood = Likelihood(self.likelihood.truth[rows], self.likelihood.alone, self.likelihood.judged)
        return FitImages(
            Chosen(self.samples, rows.tolist(), itself),
            likelihood,
            self.groups[rows],
            self.strata[rows],
            self.held_out[rows],
            self.column,
        )

    def require_enough(self) -> None:
        """Make sure that there is something to fit and to judge.

        Raises:
            DataError: there are too few images or groups, or labels that tell nothing apart.
        """
        number, groups = len(self.samples), len(np.unique(self.groups))
        if number < LEAST or groups < LEAST:
            what = count(number, "image") if number < LEAST else f"{count(number, 'image')} in {count(groups, 'group')}"
            raise DataError(
                f"{what} can be used, and a fit needs at least {LEAST} that are independent, half of them to judge it "
                "by; give more labelled images."
            )
        for half, what in ((~self.held_out, "to fit by"), (self.held_out, "to judge by")):
            self._require_contrast(half, what)

    def _require_contrast(self, half: npt.NDArray[np.bool_], what: str) -> None:
        truth = self.likelihood.truth[half]
        if self.likelihood.alone:
            if not (truth.any(axis=0) & ~truth.all(axis=0)).any():
                raise DataError(
                    f"in the {len(truth)} images {what} every class labels all images or none, so that there is "
                    "nothing to tell apart; give images with and without each label."
                )
        elif truth.all(axis=0).any():
            raise DataError(
                f"the {len(truth)} images {what} are all of one class, so that there is nothing to tell apart; give "
                "images of at least two."
            )


def fit_images(samples: Sequence[Sample], reading: Reading, classes: int, group: str | None, seed: int) -> FitImages:
    """Split labelled images.

    Args:
        samples: in the model's classes.
        reading: of the model's logits.
        classes: K, the number of logits.
        group: column whose images stay together; ``group`` where some image has it, if None.
        seed: of the split.

    Raises:
        DataError: there is no such column.
    """
    columns = {name for sample in samples for name, _ in sample.columns}
    if group is not None and group not in columns:
        found = ", ".join(sorted(columns)[:8]) or "none"
        raise DataError(f"no image has a column '{group}' to be grouped by; the data set's columns are: {found}.")
    column = group if group is not None else _GROUP if _GROUP in columns else ""
    truth = truth_of(Chosen(samples, None, attrgetter("labels")), range(max(2, classes)))
    if reading.kind == "two-classes":
        truth = truth[:, 1:]  # the one that the logit is for
    named = (dict(sample.columns).get(column, f"image {row}") for row, sample in enumerate(samples))
    groups = joined(len(samples), map(_content, samples), *([named] if column else []))
    strata = np.fromiter((sample.labels[0] if sample.labels else -1 for sample in samples), dtype=np.intp)
    alone = reading.kind != "one-of-many"
    judged = np.asarray(truth.any(axis=0)) if alone else np.ones(classes, dtype=np.bool_)
    held_out = deal(groups, strata, 2, seed) == 1
    return FitImages(samples, Likelihood(truth, alone, judged), groups, strata, held_out, column)


def _content(sample: Sample) -> str | bytes:
    """The digest of an image's file: the same picture twice would be seen and judge."""
    try:
        data = read_bytes(sample.image, ImageError, expected="an image", limit=MAX_FILE_BYTES)
    except ImageError:  # it is kept out when it is measured
        return str(sample.image)
    return hashlib.sha256(data).digest()
