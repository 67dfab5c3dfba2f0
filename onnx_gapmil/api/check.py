"""`check`: a model judged by a policy."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from onnx_gapmil.api.arguments import path_of, place_of, text_of
from onnx_gapmil.api.places import takes_urls
from onnx_gapmil.errors import InputError
from onnx_gapmil.files.urls import given_place
from onnx_gapmil.validation.checking.check import check as run_check
from onnx_gapmil.validation.checking.measuring import DataRequest
from onnx_gapmil.validation.checking.policy import Policy

if TYPE_CHECKING:
    from collections.abc import Callable

    from onnx_gapmil.lift.tokens.modes import ClassTokenWish
    from onnx_gapmil.validation.checking.result import CheckReport


@takes_urls(
    read=(
        "model",
        "policy",
        "audit",
        "compare",
        "baseline",
        "against",
        "names",
        "class_map",
        "preprocess",
        "thresholds",
    ),
    files=("junit", "attestation"),
    folder="output",
)
def check(
    model: str | Path,
    policy: Policy | str | Path,
    *,
    audit: str | Path | None = None,
    compare: str | Path | None = None,
    baseline: str | Path | None = None,
    data: str | Path | None = None,
    against: str | Path | None = None,
    output: str | Path = "gapmil_check",
    labels: str | Path | None = None,
    names: str | Path | None = None,
    class_map: str | Path | None = None,
    label_offset: int | None = None,
    preprocess: str | Path | None = None,
    head: str | None = None,
    thresholds: float | str | Path | None = None,
    provider: str = "auto",
    batch: int | None = None,
    no_guess: bool = False,
    allow_unjudged: bool = False,
    junit: str | Path | None = None,
    attestation: str | Path | None = None,
    progress: Callable[[str, int, int], None] | None = None,
    class_token: ClassTokenWish | None = None,
) -> CheckReport:
    """Judge a model by a policy: every rule passes, fails, warns or is not judged.

    Args:
        model: path of the ``.onnx`` file.
        policy: a `Policy`, or its TOML file.
        audit: results of `audit`: their folder, or ``summary.json``.
        compare: results of `compare` whose new side is the model: their folder, or ``compare.json``.
        baseline: ``summary.json`` of what the model must not fall behind, or its folder.
        data: labelled images: the audit is made first.
        against: with ``data``, the model that it is to replace: the comparison is made first, too.
        output: the folder for what is made.
        labels: a label file for the images of the folder ``data``.
        names: a file of class names.
        class_map: a file that translates labels to classes.
        label_offset: class = label + offset, for labels that are numbers.
        preprocess: a preset's name, a JSON file, or ``auto``.
        head: the output to judge, of a model with several.
        thresholds: probabilities above which a class of a multi-label head is present: a number or a file; 0.5 if None.
        provider: where to run.
        batch: images at a time.
        no_guess: refuse a preprocessing that is guessed, or was in the audit that is judged.
        allow_unjudged: let a rule that cannot be judged only warn.
        junit: where to write JUnit XML; None writes none.
        attestation: where to write an unsigned in-toto statement; None writes none.
        progress: called now and then with what is running, the images done and all images.
        class_token: lift a head that reads a class token, of both models; see `rewrite`.

    Returns:
        Every rule with its state; ``passed``, ``outcome`` and ``exit_code`` tell the result.

    Raises:
        InputError: a file is missing, torn or of another kind, or the policy is wrong.
        UnsupportedHeadError: data are given, and the model has no head that can be lifted.
    """
    if against is not None and data is None:
        raise InputError("a model is compared with another on data, which are not given.")
    stated = text_of(preprocess)
    request = None
    if data is not None:
        request = DataRequest(
            model=Path(model),
            data=given_place(data),
            output=Path(output),
            against=path_of(against),
            labels=place_of(labels),
            names=path_of(names),
            class_map=path_of(class_map),
            label_offset=label_offset,
            preprocess=stated,
            head=head,
            thresholds=text_of(thresholds),
            provider=provider,
            batch=batch,
            no_guess=no_guess,
            class_token=class_token,
        )
    return run_check(
        Path(model),
        policy if isinstance(policy, Policy) else Path(policy),
        audit=path_of(audit),
        compare=path_of(compare),
        baseline=path_of(baseline),
        request=request,
        head=head,
        preprocess=stated,
        no_guess=no_guess,
        allow_unjudged=allow_unjudged,
        junit=path_of(junit),
        attestation=path_of(attestation),
        progress=progress if progress is not None else lambda *_: None,
        class_token=class_token,
    )
