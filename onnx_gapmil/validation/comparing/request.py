"""What a user asked to compare; an unfinished comparison goes on only where all of it is the same."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from onnx_gapmil.lift.tokens.modes import ClassTokenWish
from onnx_gapmil.rewriting.sizing.record import Size


@dataclass(frozen=True, kw_only=True)
class Side:
    """One of the two that are compared.

    Attributes:
        model: path of the ``.onnx`` file.
        names: file of its class names; looked for beside the model if None.
        class_map: file that translates labels to its classes.
        offset: class = label + offset, for labels that are numbers.
        preprocess: preset, JSON file, or ``auto``.
        head: its output, of a model with several; the first lifted one if None.
        aggregator: what its answer is made of its cells by, as `parse_aggregator` reads it; ``mean`` is its own.
        class_token: how far a class token that its head reads is lifted; None refuses it.
        thresholds: probabilities above which classes of a multi-label head are present: a number or a file.
        size: (height, width) of the input in pixels, where it is not to be the model's own.
        stitch: 2 for grids twice as fine, of shifted runs.
    """

    model: Path
    names: Path | None = None
    class_map: Path | None = None
    offset: int | None = None
    preprocess: str | None = None
    head: str | None = None
    aggregator: str = "mean"
    class_token: ClassTokenWish | None = None
    thresholds: str | None = None
    size: Size | None = None
    stitch: int = 1

    def replaced(self, model: Path, **own: Any) -> Side:
        """The other side: as this one in all that it has no own of, that is, that is None.

        Args:
            model: of the other side.
            own: by attribute.
        """
        return replace(self, model=model, **{name: value for name, value in own.items() if value is not None})


@dataclass(frozen=True, kw_only=True)
class CompareRequest:
    """Two sides and the images that both see.

    Attributes:
        old: what is there.
        new: what is to replace it.
        data: folder or label file; see `open_data`. With ``unlabelled`` files, folders or globs of images.
        labels: label file for the images of the folder ``data``.
        unlabelled: the images have no labels, or are to be compared without them.
        provider: where to run.
        batch: images at a time.
        no_guess: refuse a preprocessing that would be a guess.
        fast_decode: decode large JPEGs smaller than they are, which is quicker and not exact.
    """

    old: Side
    new: Side
    data: Path | str
    labels: Path | str | None = None
    unlabelled: bool = False
    provider: str = "auto"
    batch: int | None = None
    no_guess: bool = False
    fast_decode: bool = False

    @property
    def same(self) -> bool:
        """Whether both sides are one: all differences are then 0 whatever the images."""
        return self.old == self.new
