"""What a check found: every rule with its state, and the outcome of all."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from onnx_gapmil.files.urls import said

SCHEMA_VERSION = 1
State = Literal["passed", "failed", "warned", "not_judged"]
Outcome = Literal["passed", "failed", "not_judged"]


@dataclass(frozen=True, kw_only=True)
class RuleResult:
    """One rule, judged or not.

    Attributes:
        name: of the rule.
        metric: the figure that it is on.
        state: ``passed``, ``failed``, ``warned`` (a rule of severity ``warn`` that is not met) or ``not_judged``.
        value: what was judged: the figure; of a drop or rise that; a model's property as text.
        interval: its 95 % interval.
        limit: what it was held against.
        limit_kind: ``min``, ``max``, ``max_drop``, ``max_rise`` or ``is``.
        relative: whether value and limit are shares of the baseline.
        bound: the end of the interval that was judged.
        slice: that it is of; of ``worst:column`` the worst.
        baseline: the figure that a drop or rise is from.
        images: that it is of.
        reason: why it failed, warned or was not judged, or what it passed by: one sentence.
        severity: ``fail`` or ``warn``.
        line: of the policy file.
    """

    name: str
    metric: str
    state: State
    value: float | str | bool | None = None
    interval: tuple[float, float] | None = None
    limit: float | str | bool | list[str] | None = None
    limit_kind: str = "is"
    relative: bool = False
    bound: str | None = None
    slice: str | None = None
    baseline: float | None = None
    images: int | None = None
    reason: str = ""
    severity: str = "fail"
    line: int = 1

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        found = dict(vars(self))
        found["interval"] = list(self.interval) if self.interval is not None else None
        return found


@dataclass(frozen=True, kw_only=True)
class NamedFile:
    """A file that the check read, by its digest.

    Attributes:
        name: for people.
        path: where it lies.
        sha256: of its bytes.
    """

    name: str
    path: Path
    sha256: str


@dataclass(frozen=True, kw_only=True)
class CheckReport:
    """A policy judged.

    Attributes:
        model: the model's file.
        policy: the policy's file.
        rules: in the policy's order, those on the model first.
        inputs: results that it was judged by.
        allow_unjudged: whether a rule that could not be judged only warns.
    """

    model: NamedFile
    policy: NamedFile
    rules: tuple[RuleResult, ...]
    inputs: tuple[NamedFile, ...] = ()
    allow_unjudged: bool = False

    @property
    def outcome(self) -> Outcome:
        """``failed`` if a rule failed; else ``not_judged`` if one could not be judged; else ``passed``."""
        states = {rule.state for rule in self.rules}
        if "failed" in states:
            return "failed"
        return "not_judged" if "not_judged" in states else "passed"

    @property
    def passed(self) -> bool:
        """Whether every rule was judged and none failed."""
        return self.outcome == "passed"

    @property
    def exit_code(self) -> int:
        """0 passed; 1 failed; 2 not judged, unless that was allowed."""
        if self.outcome == "not_judged":
            return 0 if self.allow_unjudged else 2
        return 1 if self.outcome == "failed" else 0

    def count(self, state: State) -> int:
        """How many rules are in a state."""
        return sum(rule.state == state for rule in self.rules)

    def to_json(self) -> dict[str, Any]:
        """The report of ``check --json``."""
        return {
            "schema_version": SCHEMA_VERSION,
            "outcome": self.outcome,
            "model": _json(self.model),
            "policy": _json(self.policy),
            "inputs": [_json(entry) for entry in self.inputs],
            "allow_unjudged": self.allow_unjudged,
            "rules": [rule.to_json() for rule in self.rules],
        }


def _json(entry: NamedFile) -> dict[str, str]:
    return {"name": entry.name, "path": said(entry.path), "sha256": entry.sha256}
