"""`check`: a model, a policy, and data or results in; every rule judged out."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from onnx_gapmil.errors import InputError
from onnx_gapmil.files.json_text import json_text
from onnx_gapmil.files.writing import write_whole
from onnx_gapmil.validation.checking.attestation import statement
from onnx_gapmil.validation.checking.drafting import draft_policy
from onnx_gapmil.validation.checking.evidence import gather
from onnx_gapmil.validation.checking.judging import judge_rule
from onnx_gapmil.validation.checking.junit import junit_xml
from onnx_gapmil.validation.checking.measuring import measure, require_one_source
from onnx_gapmil.validation.checking.model_rules import ModelFacts
from onnx_gapmil.validation.checking.policy import Policy
from onnx_gapmil.validation.checking.result import CheckReport, NamedFile

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from onnx_gapmil.lift.tokens.modes import ClassTokenWish
    from onnx_gapmil.validation.checking.measuring import DataRequest


def check(
    model: Path,
    policy: Policy | Path,
    *,
    audit: Path | None = None,
    compare: Path | None = None,
    baseline: Path | None = None,
    request: DataRequest | None = None,
    head: str | None = None,
    preprocess: str | None = None,
    no_guess: bool = False,
    allow_unjudged: bool = False,
    junit: Path | None = None,
    attestation: Path | None = None,
    progress: Callable[[str, int, int], None] = lambda *_: None,
    class_token: ClassTokenWish | None = None,
) -> CheckReport:
    """Judge a policy.

    Args:
        model: the model's file.
        policy: a `Policy`, or its file.
        audit: a folder of results of ``audit``, or its ``summary.json``.
        compare: a folder of results of ``compare``, or its ``compare.json``.
        baseline: a ``summary.json`` that the model must not fall behind, or its folder.
        request: data to make the audit and the comparison from first.
        head: the output that the rules on the model are about.
        preprocess: preprocessing that the user states.
        no_guess: refuse a preprocessing that would be a guess, or that the audit guessed.
        allow_unjudged: let a rule that cannot be judged only warn.
        junit: where to write JUnit XML.
        attestation: where to write an in-toto statement.
        progress: is told what is running, the images done, and all images.
        class_token: how far a head that reads a class token is lifted; None is as in the audit, or refuses it.

    Raises:
        InputError: a file is missing, torn or of another kind, or the policy is wrong.
        UnsupportedHeadError: data are given, and the model has no head that can be lifted.
    """
    began = time.perf_counter()
    rules = policy if isinstance(policy, Policy) else Policy.load(policy)
    _require_apart([junit, attestation], [model, rules.path, audit, compare, baseline])
    require_one_source(request, audit, compare)
    if request is not None:
        made = measure(request, rules, progress)
        audit, compare = made[0] or audit, made[1] or compare
    evidence = gather(model, audit=audit, compare=compare, baseline=baseline, head=head)
    facts = ModelFacts(evidence, head=head, preprocess=preprocess, class_token=class_token)
    if no_guess and request is None:  # what is measured here was refused before
        facts.require_stated()
    results = [facts.judge(rule) for rule in rules.model] + [judge_rule(rule, evidence) for rule in rules.rules]
    named = {"audit": evidence.audit, "comparison": evidence.compare, "baseline": evidence.baseline}
    path = rules.path if rules.path is not None else Path("policy.toml")
    report = CheckReport(
        model=NamedFile(name=model.name, path=model, sha256=evidence.model_sha256),
        policy=NamedFile(name=path.name, path=path, sha256=rules.sha256),
        rules=tuple(results),
        inputs=tuple(
            NamedFile(name=f"{name}: {entry.path.name}", path=entry.path, sha256=entry.sha256)
            for name, entry in named.items()
            if entry is not None
        ),
        allow_unjudged=allow_unjudged,
    )
    if junit is not None:
        write_whole(junit, junit_xml(report, seconds=time.perf_counter() - began))
    if attestation is not None:
        write_whole(attestation, f"{json_text(statement(report), indent=2)}\n".encode())
    return report


def draft(
    model: Path,
    path: Path,
    *,
    audit: Path | None = None,
    request: DataRequest | None = None,
    progress: Callable[[str, int, int], None] = lambda *_: None,
) -> None:
    """Write a policy that the model meets today.

    Args:
        model: the model's file.
        path: of the policy; never written over.
        audit: a folder of results of ``audit``, or its ``summary.json``.
        request: data to make the audit from first.
        progress: as in `check`.

    Raises:
        InputError: there is no audit of this model, or the policy is there already.
    """
    if path.exists():
        raise InputError(f"{path} is there already; a policy is never overwritten. Name another file with --policy.")
    require_one_source(request, audit, None)
    if request is not None:
        audit = measure(request, None, progress)[0]
    if audit is None:
        raise InputError("a policy is drafted from an audit; give --audit OUT, or --data DATA.")
    evidence = gather(model, audit=audit, compare=None, baseline=None)
    found = evidence.audit
    if found is None or found.problem:
        raise InputError(f"{audit}: {found.problem if found is not None else 'no audit'}.")
    places, residual = ModelFacts(evidence).proved()
    write_whole(path, draft_policy(found, places=places, residual=residual).encode())


def _require_apart(written: Sequence[Path | None], read: Sequence[Path | None]) -> None:
    """Make sure that no file of results is written over one that is read, nor two into one."""
    known = {path.resolve() for path in read if path is not None}
    known |= {path / name for path in known for name in ("summary.json", "compare.json")}
    for path in written:
        if path is None:
            continue
        if path.resolve() in known:
            raise InputError(f"{path} is read or written in this very run; name another file.")
        known.add(path.resolve())
