"""One proof's result: what was measured, what is allowed, and what could not be run, which is never passed."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

CheckName = Literal["sum", "cell", "place", "as_deployed", "pool"]


@dataclass(frozen=True)
class Figure:
    """What one proof measured of one head.

    Attributes:
        measure: the worst figure; None where it was not run.
        allowed: the largest figure that passes; None where it was not run.
        skipped: why it was not run, one sentence without its full stop; "" where it was.
        failures: why it failed, one sentence each; empty where it passed or was not run.
        detail: what was run, one phrase for people.
        facts: what else is said of it in JSON, by key.
    """

    measure: float | None = None
    allowed: float | None = None
    skipped: str = ""
    failures: tuple[str, ...] = ()
    detail: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def passed(self) -> bool | None:
        """Whether it holds; None where it was not run."""
        return False if self.failures else None if self.skipped else True

    @property
    def share(self) -> float:
        """How much of what is allowed was measured."""
        if self.measure is None or self.allowed is None:
            return 0.0
        return self.measure / self.allowed if self.allowed > 0 else math.inf if self.measure > 0 else 0.0

    def to_json(self) -> dict[str, Any]:
        """``passed``, ``measure``, ``allowed``, ``skipped``."""
        return {
            "passed": self.passed,
            "measure": self.measure,
            "allowed": self.allowed,
            "skipped": self.skipped or None,
            **self.facts,
        }


@dataclass(frozen=True)
class Check:
    """One proof of a rewritten model, head by head.

    Attributes:
        name: which.
        figures: by head's output; by "" what is said of the whole model.
        parts: what the proof is made of beside its figures, by name.
        binding: whether a failure fails the whole. A grid whose cells look elsewhere is right as a sum, and its
            record says that their places are not known.
    """

    name: CheckName
    figures: Mapping[str, Figure]
    parts: Mapping[str, Check] = field(default_factory=dict)
    binding: bool = True

    def figure(self, output: str) -> Figure:
        """What is said of one head: its own figure, or that of the whole model."""
        return self.figures.get(output) or self.joint

    @property
    def joint(self) -> Figure:
        """The figure of all heads: the worst; failed if one or a part failed, not run if one was not run."""
        known = list(self.figures.values())
        none = Figure(skipped="there is no head")
        worst = max(known, key=lambda figure: (figure.measure is not None, figure.share), default=none)
        skipped = "; ".join(dict.fromkeys(figure.skipped for figure in known if figure.skipped))
        failures = [said for figure in known for said in figure.failures]
        failures += [said for part in self.parts.values() for said in part.failures]
        return Figure(
            worst.measure, worst.allowed, skipped or worst.skipped, tuple(failures), worst.detail, worst.facts
        )

    @property
    def passed(self) -> bool | None:
        """Whether it holds of all heads; None where it could not be run for one."""
        return self.joint.passed

    @property
    def failures(self) -> tuple[str, ...]:
        """Why it failed, one sentence each."""
        return self.joint.failures

    def to_json(self) -> dict[str, Any]:
        """The joint figure, its parts, and each head's figure."""
        return {
            **self.joint.to_json(),
            **{name: part.to_json() for name, part in self.parts.items()},
            "heads": {output: figure.to_json() for output, figure in self.figures.items()},
        }
