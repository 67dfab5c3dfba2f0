"""`Emit`: what a rewritten graph gives beside the vendor's outputs. What is not asked for is not computed."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from onnx_gapmil.aggregate.aggregator import Aggregator, parse_aggregator
from onnx_gapmil.errors import InputError
from onnx_gapmil.files.wording import count as counted

#: Emissions that are there or not.
_FLAGS = ("features", "grid", "argmax", "certainty", "peaks")
_WORDS = "features, grid, argmax, certainty, peaks, topk:K, classes:A,B,... and scores:NAME,NAME=R,..."


@dataclass(frozen=True)
class Emit:
    """New outputs of a rewritten graph, for each head with N images, K classes and a grid of H x W cells.

    The logits (N, K) are always there. The grid of a volume has D x H x W cells, that of a clip T x H x W, and so has
    all that is said of cells below; the grid of a signal has 1 x T.

    Attributes:
        features: the feature grid (N, C, H, W).
        grid: the prediction grid (N, K, H, W).
        argmax: the best class of each cell, (N, H, W) int64.
        certainty: softmax share of the best class in each cell, (N, H, W); the sigmoid where K is 1.
        peaks: the best cell of each class, (N, K) int64, counted row by row, of a volume slice by slice.
        topk: how many of the image's best classes, by its logits, get their grid: numbers (N, k) int64 and grid
            (N, k, H, W); None for none.
        classes: classes that get their grid, (N, len, H, W), the same for all images.
        scores: image-level scores (N, K) by other aggregators.
    """

    features: bool = True
    grid: bool = True
    argmax: bool = False
    certainty: bool = False
    peaks: bool = False
    topk: int | None = None
    classes: tuple[int, ...] = ()
    scores: tuple[Aggregator, ...] = ()

    def __post_init__(self) -> None:
        if self.topk is not None and self.topk < 1:
            raise InputError(f"topk:{self.topk} asks for no class; K is at least 1.")
        if any(index < 0 for index in self.classes):
            raise InputError(f"classes are numbered from 0; {min(self.classes)} was given.")

    @classmethod
    def parse(cls, *texts: str) -> Emit:
        """Read emissions as the command line has them.

        Args:
            texts: such as ``features,grid,topk:5,classes:3,17,scores:max,lse=10``. What follows ``classes:`` or
                ``scores:`` belongs to that list up to the next emission. ``logits`` alone asks for nothing more.

        Raises:
            InputError: a word is no emission, or its list or number will not do.
        """
        reader = _Reader()
        for token in (part.strip() for text in texts for part in text.split(",")):
            reader.read(token)
        return reader.result()

    @classmethod
    def of(cls, wish: Emit | str | None) -> Emit:
        """An `Emit` from its text; the default for None."""
        if wish is None:
            return cls()
        return wish if isinstance(wish, Emit) else cls.parse(wish)

    @property
    def words(self) -> tuple[str, ...]:
        """Each emission as `parse` reads it: ``("grid", "topk:5", "scores:max,lse=10")``; ``("logits",)`` if none."""
        found = [name for name in _FLAGS if getattr(self, name)]
        if self.topk is not None:
            found.append(f"topk:{self.topk}")
        if self.classes:
            found.append(f"classes:{','.join(map(str, self.classes))}")
        if self.scores:
            found.append(f"scores:{','.join(aggregator.key for aggregator in self.scores)}")
        return tuple(found) or ("logits",)

    def __str__(self) -> str:
        return ",".join(self.words)

    def missing_from(self, held: Emit) -> tuple[str, ...]:
        """What this asks for and ``held`` has not, in words; empty if it is all there."""
        absent = [name for name in _FLAGS if getattr(self, name) and not getattr(held, name)]
        if self.topk is not None and self.topk != held.topk:
            absent.append(f"topk:{self.topk}")
        if self.classes and self.classes != held.classes:
            absent.append(f"classes:{','.join(map(str, self.classes))}")
        absent += [f"scores:{entry.key}" for entry in self.scores if entry not in held.scores]
        return tuple(absent)

    def require_classes(self, output: str, count: int) -> None:
        """Make sure that a head has the classes that are asked for.

        Raises:
            InputError: it has fewer.
        """
        if self.topk is not None and self.topk > count:
            raise InputError(
                f"topk:{self.topk} was asked for, and the head of '{output}' has "
                f"{counted(count, 'class')}; ask for topk:{count} or fewer."
            )
        outside = [index for index in self.classes if index >= count]
        if outside:
            raise InputError(
                f"class {outside[0]} was asked for, and the head of '{output}' has "
                f"{counted(count, 'class')}, numbered from 0 to {count - 1}."
            )

    def to_json(self) -> dict[str, Any]:
        """The emissions as reports write them."""
        values = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        return {**values, "classes": list(self.classes), "scores": [entry.key for entry in self.scores]}


class _Reader:
    """Reads one token after another; a bare number or name belongs to the list that is open."""

    def __init__(self) -> None:
        self._flags: dict[str, bool] = dict.fromkeys(_FLAGS, False)
        self._topk: int | None = None
        self._classes: list[int] = []
        self._scores: list[Aggregator] = []
        self._open = ""
        self._seen = False

    def read(self, token: str) -> None:
        """Take one token.

        Raises:
            InputError: it means nothing here.
        """
        word, colon, rest = (part.strip() for part in token.partition(":"))
        if not colon and word in (*_FLAGS, "logits"):
            self._flags |= {word: True} if word in _FLAGS else {}
            self._open = ""
        elif colon and word == "topk":
            self._read_topk(rest)
            self._open = ""
        elif colon and word in ("classes", "scores"):
            self._open = word
            self._read_entry(rest)
        elif not colon and self._open and word:
            self._read_entry(word)
        else:
            raise InputError(f"'{token}' is nothing that can be emitted; there are {_WORDS}.")
        self._seen = True

    def _read_topk(self, text: str) -> None:
        if self._topk is not None:
            raise InputError("topk was asked for twice; one graph gives one number of best classes.")
        self._topk = _number(text, f"topk:{text}: how many classes is a whole number such as topk:5.")

    def _read_entry(self, text: str) -> None:
        if self._open == "classes":
            self._classes.append(_number(text, f"classes:{text}: a class is given by its number, counted from 0."))
        else:
            self._scores.append(parse_aggregator(text))

    def result(self) -> Emit:
        """What was read; each class and each aggregator once, in the order given."""
        if not self._seen:
            raise InputError(f"nothing to emit was named; there are {_WORDS}.")
        classes, scores = tuple(dict.fromkeys(self._classes)), tuple(dict.fromkeys(self._scores))
        return Emit(**self._flags, topk=self._topk, classes=classes, scores=scores)


def _number(text: str, message: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise InputError(message) from error
