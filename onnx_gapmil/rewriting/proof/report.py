"""What a proof ran and measured, and whether that is good enough."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from onnx_gapmil.errors import GapmilError, ModelError
from onnx_gapmil.images.places import Places
from onnx_gapmil.rewriting.proof.checks import Check, Figure
from onnx_gapmil.rewriting.proof.tolerances import TOLERANCE

#: Share of the largest logit from which, on every input, rounding leaves nothing of what the cells say.
_NOTHING_LEFT = 1.0


@dataclass(frozen=True)
class Trial:
    """One run of original and rewritten model on the same input.

    Attributes:
        inputs: what was fed, for people: ``random (2, 3, 224, 224)``, or an image's path.
        outputs_equal: the original outputs are equal bit for bit.
        outputs_difference: largest difference of an original output, relative to its largest value.
        residuals: by head's output, largest |mean over cells - logits| / max |logits|; without those of which no logit
            was finite.
        scale: by head's output, max |logits|.
        class_errors: by head's output, of each class the largest |mean over cells - logit| as a share of the class's
            own cells (`onnx_gapmil.rewriting.proof.by_class`), (K,).
        emissions: by graph output, largest difference of a reduction from the same of the whole grid in float64 NumPy,
            relative to the largest value (`onnx_gapmil.rewriting.proof.reductions`).
        note: how it was run, where that is not as usual; "" where it is.
        placeless: by head's output, of one that reads a class token, the share of its answer that no place brings
            (`onnx_gapmil.aggregate.placeless`), on average over the images.
        nan: by head's output, whether the logit of a class is NaN on every image, (K,).
    """

    inputs: str
    outputs_equal: bool
    outputs_difference: float
    residuals: dict[str, float]
    scale: dict[str, float]
    emissions: dict[str, float] = field(default_factory=dict)
    class_errors: Mapping[str, np.ndarray] = field(default_factory=dict, compare=False)
    note: str = ""
    placeless: Mapping[str, float] = field(default_factory=dict)
    nan: Mapping[str, np.ndarray] = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class ProofReport:
    """What the proof ran and measured.

    Attributes:
        trials: every run.
        tolerance: by head's output, what rounding in its type explains.
        checked: outputs whose residual must stay within it; the instance readout of a conditional head is only
            reported.
        outputs_tolerance: how far original outputs may move; 0 asks for equality bit for bit.
        rounding_bound: by head's output, how far rounding to integers may move a logit, where that is known.
        skipped: inputs that the original itself does not take.
        provider: what it ran on.
        nodes: of the original and of the rewritten model, how many nodes ran on which of ONNX Runtime's providers;
            empty where only the head ran.
        kind: ``model`` if original and rewritten model ran whole; ``head`` if the model is too large for that, so
            that only its head ran, with its real weights, on made-up feature maps, and the original outputs are known
            to be unchanged because the vendor's part of the graph is.
        failures: what went wrong beside what was measured, one sentence each.
        emitted: by graph output of a reduction, the head's output that it belongs to.
        algebra: by head's output, the sum in float64; a part of the proof of the sum.
        more_checks: the proofs that are run beside the sum; see `with_checks`.
        places: by head's output, where its cells look as far as the proof of place knows.
    """

    trials: tuple[Trial, ...]
    tolerance: dict[str, float]
    checked: tuple[str, ...]
    outputs_tolerance: float
    skipped: tuple[str, ...] = ()
    rounding_bound: dict[str, float] = field(default_factory=dict)
    provider: str = "cpu"
    nodes: dict[str, dict[str, int | None]] = field(default_factory=dict)
    failures: tuple[str, ...] = field(default=())
    kind: Literal["model", "head"] = "model"
    emitted: dict[str, str] = field(default_factory=dict)
    algebra: Mapping[str, Figure] = field(default_factory=dict)
    more_checks: tuple[Check, ...] = ()
    places: Mapping[str, Places] = field(default_factory=dict)

    @classmethod
    def of_failures(cls, failures: Iterable[str]) -> ProofReport:
        """Of a proof that fails before anything is run."""
        return cls(trials=(), tolerance={}, checked=(), outputs_tolerance=0.0, failures=tuple(failures))

    @property
    def originals_unchanged(self) -> bool:
        """Whether every original output stayed what it was."""
        return all(trial.outputs_equal or trial.outputs_difference <= self.outputs_tolerance for trial in self.trials)

    def residual(self, output: str) -> float | None:
        """The largest residual of one head over all trials."""
        return max((trial.residuals[output] for trial in self.trials if output in trial.residuals), default=None)

    def emission(self, name: str) -> float | None:
        """The largest difference of one reduction from NumPy's over all trials; None if it was not run."""
        return max((trial.emissions[name] for trial in self.trials if name in trial.emissions), default=None)

    def with_checks(self, *checks: Check) -> ProofReport:
        """The same with further proofs: cell, place, ...; one that failed fails the whole."""
        return replace(self, more_checks=(*self.more_checks, *checks))

    @property
    def checks(self) -> tuple[Check, ...]:
        """Every proof: the sum, and what was run beside it."""
        parts = {"float64": Check("sum", self.algebra)} if self.algebra else {}
        return Check("sum", {output: self._sum(output) for output in self.tolerance}, parts), *self.more_checks

    def class_errors(self, output: str) -> np.ndarray | None:
        """Of each class the largest error of its sum, (K,), NaN where none is known; None where no grid was run."""
        known = [trial.class_errors[output] for trial in self.trials if output in trial.class_errors]
        if len({errors.shape for errors in known}) > 1:
            return np.full(1, np.inf)
        return np.asarray(np.fmax.reduce(known, axis=0)) if known else None

    def _sum(self, output: str) -> Figure:
        """One head's sum, class by class, in the model's own types."""
        errors = self.class_errors(output)
        if output not in self.checked:
            return Figure(skipped="the instance readout of a conditional head has another mean")
        if errors is None:
            return Figure(skipped="the whole grid was not run")
        allowed, measure = self.tolerance[output], float(np.fmax.reduce(errors, initial=0.0))
        failures = []
        if not measure <= allowed:
            which = int(np.nanargmax(errors))
            failures.append(
                f"output '{output}': the mean over cells of class {which} differs from its logit by {measure:.2g} of "
                f"the class's own cells; {allowed:.0e} is allowed."
            )
        unknown = np.isnan(errors)
        if no_numbers := self._no_numbers(output):
            failures.append(no_numbers)
            unknown &= ~self._nan(output) if len(self._nan(output)) else False
        if unknown.any():
            failures.append(
                f"output '{output}': on no input that was tried is the logit of class {_listed(unknown)} a number, or "
                "the infinity that its cells are, so that nothing is known of its sum."
            )
        return Figure(measure, allowed, failures=tuple(failures), detail="of each class's own cells")

    def _nan(self, output: str) -> np.ndarray:
        """(K,), whether the vendor's own logit of a class is NaN on every input; (0,) where no grid was run."""
        found = [trial.nan[output] for trial in self.trials if output in trial.nan]
        return np.logical_and.reduce(found) if found and len({len(each) for each in found}) == 1 else np.zeros(0, bool)

    def _was_run(self, output: str) -> bool:
        """Whether the whole grid of a head was compared on any input."""
        return any(output in trial.class_errors for trial in self.trials)

    def _no_numbers(self, output: str) -> str:
        """What is said of a model that answers NaN, or nothing finite, whatever it is given; "" of others."""
        nan = self._nan(output)
        if not nan.any() and self.residual(output) is None and self._was_run(output):
            return f"output '{output}': the model itself answers no finite number to any input that was tried."
        if not nan.any():
            return ""
        what = "numbers" if nan.all() else f"number for class {_listed(nan)}"
        return f"output '{output}': the model itself answers no {what} (NaN) to any input that was tried."

    def require_passed(self, what: str) -> None:
        """Raise what a proof that failed means.

        Args:
            what: that was proved, for people: "model.onnx: the rewritten model".

        Raises:
            ModelError: nothing is wrong but that the vendor's model answers NaN, whatever it is given.
            ProofError: it failed.
        """
        reasons = self.reasons()
        if not reasons:
            return
        if set(reasons) <= {self._no_numbers(output) for output in self.checked}:
            raise ModelError(
                f"{what} cannot be proved: {' '.join(reasons)} Its weights, or what it computes of them, are no "
                "numbers; ask whoever made the file for one that answers."
            )
        raise ProofError(f"{what} failed its proof: {' '.join(reasons)}", self)

    @property
    def passed(self) -> bool:
        """Whether outputs are unchanged and every head that must hold the identity holds it."""
        return not self.reasons()

    def reasons(self) -> list[str]:
        """Why the proof failed, one sentence each; empty if it passed."""
        reasons = list(self.failures)
        if not self.trials:
            reasons.append("no input could be run.")
        if not self.originals_unchanged:
            worst = max(trial.outputs_difference for trial in self.trials)
            reasons.append(f"an original output changed by {worst:.2g} of its largest value.")
        for output in self.checked:
            reasons += self.sum_reasons(output)
        reasons += [said for check in self.more_checks if check.binding for said in check.failures]
        for name, output in self.emitted.items():
            difference = self.emission(name)
            if difference is not None and not difference <= self.tolerance[output]:
                reasons.append(
                    f"'{name}' differs from the same of the whole grid by {difference:.2g}; "
                    f"{self.tolerance[output]:.0e} is allowed."
                )
        return reasons

    def placeless_share(self, output: str) -> float | None:
        """How much of a head's answers no place brings, on average over what was run; None of most heads."""
        found = [trial.placeless[output] for trial in self.trials if output in trial.placeless]
        known = [share for share in found if np.isfinite(share)]
        return float(np.mean(known)) if known else None

    def sum_reasons(self, output: str) -> list[str]:
        """Why the sum of one head failed, one sentence each; empty where it passed or is not checked."""
        if output not in self.checked:
            return []
        reasons: list[str] = []
        residual, bound = self.residual(output), self.rounding_bound.get(output)
        nan = self._nan(output)
        silent = residual is None and self._was_run(output)
        if silent or (residual == np.inf and len(nan) and nan.all()):
            # A head that divides by the length of a map of zeros, weights that are no numbers, or all classes of them
            # switched off.
            return [self._no_numbers(output)]
        if bound is not None and not all(
            trial.residuals[output] * trial.scale[output] <= bound + TOLERANCE[4] * trial.scale[output]
            for trial in self.trials
            if output in trial.residuals
        ):
            reasons.append(
                f"output '{output}': the mean over cells differs from the logits by more than the {bound:.2g} that "
                "rounding to its scales explains."
            )
        # A bound that is larger than the logits themselves holds of any cells at all.
        least = min((trial.residuals[output] for trial in self.trials if output in trial.residuals), default=0.0)
        if bound is not None and not reasons and least >= _NOTHING_LEFT:
            reasons.append(
                f"output '{output}': rounding to its scales explains {bound:.2g}, but on every input the mean over "
                f"cells differs from the logits by {least:.2g} of the largest logit and more, so that nothing is left "
                "of what the cells say."
            )
        # Where a bound follows from the scales it is what counts; rounding may be a large share of small logits.
        if bound is None and residual is not None and not residual <= self.tolerance[output]:
            reasons.append(
                f"output '{output}': the mean over cells differs from the logits by {residual:.2g} of the largest "
                f"logit; {self.tolerance[output]:.0e} is allowed."
            )
        elif not reasons:  # what is large enough for those sentences is not said of its class again
            reasons += self._sum(output).failures or self.algebra.get(output, Figure()).failures
        return reasons

    def to_json(self) -> dict[str, Any]:
        """The proof as the command line prints it."""
        return {
            "passed": self.passed,
            "kind": self.kind,
            "originals_unchanged": self.originals_unchanged,
            "outputs_difference": max((trial.outputs_difference for trial in self.trials), default=None),
            "residuals": {output: self.residual(output) for output in self.tolerance},
            "tolerance": self.tolerance,
            "rounding_bound": self.rounding_bound,
            "emissions": {name: self.emission(name) for name in self.emitted},
            "provider": self.provider,
            "nodes": self.nodes,
            "trials": [
                {
                    "inputs": f"{trial.inputs}, {trial.note}" if trial.note else trial.inputs,
                    "outputs_equal": trial.outputs_equal,
                    "outputs_difference": trial.outputs_difference,
                    "residuals": trial.residuals,
                    "max_logit": trial.scale,
                    "emissions": trial.emissions,
                }
                for trial in self.trials
            ],
            "skipped": list(self.skipped),
            "failures": self.reasons(),
            **{check.name: check.to_json() for check in self.checks},
        }


def _listed(classes: np.ndarray) -> str:
    """The first numbers of flags (K,)."""
    numbers = np.flatnonzero(classes)
    return ", ".join(map(str, numbers[:5])) + (", ..." if len(numbers) > 5 else "")


class ProofError(GapmilError):
    """A rewritten model did not reproduce the original's outputs or its logits.

    Attributes:
        report: what was run and measured.
    """

    def __init__(self, message: str, report: ProofReport) -> None:
        super().__init__(message)
        self.report = report

    def __reduce__(self) -> tuple[type[ProofError], tuple[str, ProofReport]]:
        """It can be sent from one process to another."""
        return type(self), (str(self), self.report)
