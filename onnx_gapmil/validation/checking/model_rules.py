"""The rules on the model itself: by the audit of it that is at hand, else by lifting and proving it anew."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from onnx_gapmil.errors import InputError, PreprocessError
from onnx_gapmil.lift.tokens.modes import WISHES, mode_of
from onnx_gapmil.validation.checking.proved import proved_model
from onnx_gapmil.validation.checking.result import RuleResult

if TYPE_CHECKING:
    from onnx_gapmil.lift.tokens.modes import ClassTokenMode, ClassTokenWish
    from onnx_gapmil.validation.checking.evidence import AllEvidence
    from onnx_gapmil.validation.checking.policy import ModelRule
    from onnx_gapmil.validation.checking.proved import ProvedHead, ProvedModel
    from onnx_gapmil.validation.checking.result import State


@dataclass(frozen=True)
class _Found:
    """What is so of a model.

    Attributes:
        state: ``passed``, ``failed`` or ``not_judged``.
        value: what it is.
        reason: why.
    """

    state: State
    value: float | str | bool | None = None
    reason: str = ""


class ModelFacts:
    """What is known of the model, found out when it is first asked for.

    Args:
        evidence: has the model's file, and its audit if there is one.
        head: the output that counts; the audited one, or the first lifted, if None.
        preprocess: the preprocessing that the user states; None for none.
        class_token: how far a head that reads a class token is lifted; as in the audit if None.
    """

    def __init__(
        self,
        evidence: AllEvidence,
        *,
        head: str | None = None,
        preprocess: str | None = None,
        class_token: ClassTokenWish | None = None,
    ) -> None:
        self._evidence = evidence
        self._head = head
        self._preprocess = preprocess
        self._class_token = class_token

    def judge(self, rule: ModelRule) -> RuleResult:
        """Judge one key of ``[model]``.

        Raises:
            InputError: the model cannot be read or run.
        """
        judges = {
            "sha256": self._sha256,
            "verdict": self._verdict,
            "places": self._places,
            "max_residual": self._residual,
            "preprocessing": self._preprocessing,
        }
        found = judges[rule.key](rule.wanted)
        wanted = list(rule.wanted) if isinstance(rule.wanted, tuple) else rule.wanted
        return RuleResult(
            name=rule.name,
            metric=rule.name,
            state=found.state,
            value=found.value,
            limit=wanted,
            limit_kind="max" if rule.key == "max_residual" else "is",
            reason=found.reason,
            line=rule.line,
        )

    def proved(self) -> tuple[bool, float | None]:
        """Whether places are proved to be known, and the residual that is allowed where it was proved to hold."""
        known = self._places(True).state == "passed"
        if self._unproved("sum") is not None or isinstance(self._lifted, str):
            return known, None
        figure = self._lifted.proofs["sum"]
        return known, figure.allowed if figure.passed else None

    def _sha256(self, wanted: Any) -> _Found:
        own = self._evidence.model_sha256
        if own == wanted:
            return _Found("passed", own)
        return _Found("failed", own, "the file has another SHA-256")

    def _verdict(self, wanted: Any) -> _Found:
        audit = self._audit
        if audit is not None and isinstance(audit.get("verdict"), str):
            verdict = audit["verdict"]
        elif (refusal := self._refused) is not None:
            return _Found("failed", f"refused: {refusal[0]}", f"the head is refused ({refusal[0]}): {refusal[1]}")
        else:
            head = self._lifted
            if isinstance(head, str):
                return _Found("not_judged", None, head)
            verdict = head.verdict
        if verdict in wanted:
            return _Found("passed", verdict)
        return _Found("failed", verdict, f"the head is {verdict}")

    def _places(self, wanted: Any) -> _Found:
        unproved = self._unproved("place")
        if unproved is not None:
            return unproved
        head = self._lifted
        if isinstance(head, str):
            return _Found("not_judged", None, head)
        if head.places == wanted:
            return _Found("passed", head.places)
        why = "where its cells look is known" if head.places else f"places are not known: {head.reason}"
        return _Found("failed", head.places, why)

    def _residual(self, wanted: Any) -> _Found:
        unproved = self._unproved("sum")
        if unproved is not None:
            return unproved
        head = self._lifted
        if isinstance(head, str):
            return _Found("not_judged", None, head)
        measure = head.proofs["sum"].measure
        if measure is None:
            return _Found("not_judged", None, "the proof did not measure it")
        if measure <= wanted:
            return _Found("passed", measure)
        return _Found("failed", measure, f"the mean over cells differs from a logit by {measure:.2g} of its cells")

    def _preprocessing(self, _: Any) -> _Found:
        audit = self._audit
        if audit is not None and isinstance(audit.get("preprocess_assumed"), bool):
            source, assumed = str(audit.get("preprocess_source")), audit["preprocess_assumed"]
        else:
            found = self._resolved
            if isinstance(found, str):
                return _Found("not_judged", None, found)
            source, assumed = found
        if not assumed:
            return _Found("passed", "stated")
        if self._is_measured:
            return _Found("failed", "found on images", f"nothing states it; it was found on labelled images: {source}")
        return _Found("failed", "guessed", f"it was guessed: {source}")

    def require_stated(self) -> None:
        """Refuse a preprocessing that was guessed in the audit, or would be; found on labelled images is not guessed.

        Raises:
            PreprocessError: it was.
        """
        found = self._preprocessing(None)
        if found.state == "failed" and not self._is_measured:
            raise PreprocessError(f"--no-guess forbids a preprocessing that is guessed: {found.reason}")

    @property
    def _is_measured(self) -> bool:
        """Whether the audit found the preprocessing out on its images (`--preprocess auto`), or it was stated."""
        return self._audit is not None and self._audit.get("preprocess_guessed") == []

    @property
    def _audit(self) -> Mapping[str, Any] | None:
        """The audit of this very model and output, if there is one."""
        audit = self._evidence.audit
        if audit is None or audit.problem:
            return None
        audited = audit.content.get("head")
        output = audited.get("output") if isinstance(audited, Mapping) else None
        return audit.content if self._head is None or output == self._head else None

    @property
    def _lifted(self) -> ProvedHead | str:
        """The head that counts, or why there is none."""
        if self._refused is not None or not self._proved.heads:
            return "its head cannot be lifted"
        output = self._head
        if output is None and self._audit is not None and isinstance(self._audit.get("head"), Mapping):
            output = self._audit["head"].get("output")
        heads = self._proved.heads
        if output is None:
            return heads[0]
        found = next((head for head in heads if head.output == output), None)
        return found if found is not None else f"there is no lifted output {output!r}"

    def _unproved(self, name: str) -> _Found | None:
        """Why a proof does not say; None where it was run."""
        if self._refused is not None:
            return _Found("not_judged", None, f"its head is refused ({self._refused[0]}), so nothing is proved")
        head = self._lifted
        if isinstance(head, str):
            return _Found("not_judged", None, head)
        if not head.proofs:
            return _Found("not_judged", None, "it was not proved")
        figure = head.proofs.get(name)
        if figure is None:
            return _Found("not_judged", None, f"there is no proof of {name} of {head.output!r}")
        return _Found("not_judged", None, f"not proved: {figure.skipped}") if figure.skipped else None

    @property
    def _refused(self) -> tuple[str, str] | None:
        """Code and message of the refusal; None where a head was lifted."""
        return self._proved.refused

    @cached_property
    def _proved(self) -> ProvedModel:
        return proved_model(self._evidence.model, self._evidence.model_sha256, self._mode)

    @property
    def _mode(self) -> ClassTokenMode | None:
        """How far a class token is lifted."""
        audited = self._audit.get("head") if self._audit is not None else None
        lifted = audited.get("class_token_lift") if isinstance(audited, Mapping) else None
        return mode_of(self._class_token or (lifted if lifted in WISHES else None))

    @cached_property
    def _resolved(self) -> tuple[str, bool] | str:
        """Where the model's preprocessing comes from, and whether it is a guess; or why that is not known."""
        from onnx_gapmil.lift.verdict import UnsupportedHeadError
        from onnx_gapmil.prediction.classifier import Classifier
        from onnx_gapmil.rewriting.proof.report import ProofError

        try:
            found = Classifier(
                self._evidence.model, preprocess=self._preprocess, provider="cpu", class_token=self._mode
            ).preprocess
        except (UnsupportedHeadError, ProofError):
            return "its head cannot be lifted, so no photo is fed to it"
        except InputError as error:
            return str(error).rstrip(".")
        return found.source, found.assumed
