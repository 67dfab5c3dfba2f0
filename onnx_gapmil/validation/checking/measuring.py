"""The results that a policy is judged by, made first where data are given: the audit, and the comparison."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from onnx_gapmil.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from onnx_gapmil.lift.tokens.modes import ClassTokenWish
    from onnx_gapmil.validation.checking.policy import Policy


@dataclass(frozen=True, kw_only=True)
class DataRequest:
    """What is to be measured for a check.

    Attributes:
        model: the model's file.
        data: folder or label file of labelled images.
        output: the folder of results: ``audit/`` and ``compare/`` in it.
        against: the model that it is to replace; None compares with none.
        labels: label file for the images of the folder ``data``.
        names: class names.
        class_map: which class each label means.
        label_offset: class = label + offset.
        preprocess: preset, JSON file, or ``auto``.
        head: the output that is judged.
        thresholds: probabilities above which classes are present: a number or a file.
        provider: where to run.
        batch: images at a time.
        no_guess: refuse a preprocessing that would be a guess.
        class_token: how far a class token that a head reads is lifted; None refuses it.
    """

    model: Path
    data: Path | str
    output: Path
    against: Path | None = None
    labels: Path | str | None = None
    names: Path | None = None
    class_map: Path | None = None
    label_offset: int | None = None
    preprocess: str | None = None
    head: str | None = None
    thresholds: str | None = None
    provider: str = "auto"
    batch: int | None = None
    no_guess: bool = False
    class_token: ClassTokenWish | None = None


def measure(
    request: DataRequest, policy: Policy | None, progress: Callable[[str, int, int], None]
) -> tuple[Path | None, Path | None]:
    """Run what the policy asks for.

    Args:
        request: the data, and how to read them.
        policy: whose metrics say what is needed; None for the audit.
        progress: is told what is running, the images done, and all images.

    Returns:
        The folders of the audit and of the comparison; None for what was not needed.

    Raises:
        InputError: model, data, labels or folder will not do.
        UnsupportedHeadError: the model has no head that can be lifted.
    """
    metrics = [rule.metric for rule in policy.rules] if policy is not None else [""]
    audited = any(not metric.startswith("compare.") for metric in metrics)
    return (
        _audit(request, progress) if audited or request.against is None else None,
        _compare(request, request.against, progress) if request.against is not None else None,
    )


def _audit(request: DataRequest, progress: Callable[[str, int, int], None]) -> Path:
    from onnx_gapmil.auditing import Request, audit

    output = request.output / "audit"
    audit(
        Request(
            model=request.model,
            data=request.data,
            labels=request.labels,
            names=request.names,
            class_map=request.class_map,
            offset=request.label_offset,
            preprocess=request.preprocess,
            provider=request.provider,
            head=request.head,
            thresholds=request.thresholds,
            batch=request.batch,
            no_guess=request.no_guess,
            class_token=request.class_token,
        ),
        output,
        progress=lambda found: progress("audit", found.done, found.total),
    )
    return output


def _compare(request: DataRequest, old: Path, progress: Callable[[str, int, int], None]) -> Path:
    from onnx_gapmil.validation.comparing.compare import compare
    from onnx_gapmil.validation.comparing.request import CompareRequest, Side

    output = request.output / "compare"
    side = Side(
        model=old,
        names=request.names,
        class_map=request.class_map,
        offset=request.label_offset,
        preprocess=request.preprocess,
        head=request.head,
        class_token=request.class_token,
        thresholds=request.thresholds,
    )
    compare(
        CompareRequest(
            old=side,
            new=side.replaced(request.model),
            data=request.data,
            labels=request.labels,
            provider=request.provider,
            batch=request.batch,
            no_guess=request.no_guess,
        ),
        output,
        progress=lambda found: progress("compare", found.done, found.total),
    )
    return output


def require_one_source(request: DataRequest | None, audit: Path | None, compare: Path | None) -> None:
    """Make sure that results are either given or made.

    Raises:
        InputError: both are asked for.
    """
    if request is None:
        return
    if audit is not None:
        raise InputError("--data makes an audit and --audit names one; give one of the two.")
    if compare is not None and request.against is not None:
        raise InputError("--against makes a comparison and --compare names one; give one of the two.")
