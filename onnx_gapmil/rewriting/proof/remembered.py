"""What was proved of a model that is rewritten in memory, now or by an earlier run, and what that took."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from onnx_gapmil.rewriting.proof.checks import Check, Figure

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Seconds below which a figure of one decimal says nothing.
_SHORTEST = 0.1


@dataclass(frozen=True)
class RememberedProof:
    """The proof of sum and place of a rewrite in memory.

    Attributes:
        sums: by head's output, the sum of each class's cells (`onnx_gapmil.rewriting.proof.by_class`).
        places: by head's output, where its cells look.
        seconds: what proving took, by the clock, when it was done.
        cached: whether that was an earlier run, whose result was kept in the user's cache folder.
    """

    sums: Mapping[str, Figure]
    places: Mapping[str, Figure]
    seconds: float
    cached: bool

    @property
    def sum(self) -> Figure:
        """The sum, of all heads."""
        return Check("sum", self.sums).joint

    @property
    def place(self) -> Figure:
        """The places, of all heads."""
        return Check("place", self.places).joint

    def describe(self) -> str:
        """One line for people: what was proved, when, and how long it took."""
        if self.sum.measure is None:
            return f"not run: {self.sum.skipped}"
        when = "by an earlier run" if self.cached else "now"
        took = f"{self.seconds:.1f} s" if self.seconds >= _SHORTEST else f"less than {_SHORTEST:.1f} s"
        return f"{self.claim}; proved {when}, in {took}"

    @property
    def claim(self) -> str:
        """What was proved, without when."""
        found, place = self.sum, self.place
        if found.measure is None or found.allowed is None:
            return f"not run: {found.skipped}"
        text = f"sum of each class's cells to {found.measure:.1e} (allowed {found.allowed:.0e})"
        if place.failures:
            return f"{text}; places are not known: stripes of the image contradict them"
        if place.measure is None:
            return f"{text}; place not run: {place.skipped}"
        return f"{text}; places by stripes of the image: {place.detail}"

    def to_json(self) -> dict[str, Any]:
        """``sum`` and ``place``, each ``{passed, measure, allowed, skipped}``; ``cached`` and ``seconds``."""
        return {
            "sum": self.sum.to_json(),
            "place": self.place.to_json(),
            "cached": self.cached,
            "seconds": round(self.seconds, 3),
        }
