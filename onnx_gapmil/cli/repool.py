"""``onnx-gapmil repool``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from onnx_gapmil.cli.options import (
    READ,
    WRITTEN_FILE,
    batch_option,
    class_token_option,
    data_place,
    head_option,
    json_option,
    model_argument,
    names_option,
    no_guess_option,
    preprocess_option,
    print_json,
    provider_option,
    thresholds_option,
    verb_options,
)
from onnx_gapmil.cli.output import say, tell
from onnx_gapmil.cli.progress import Teller

if TYPE_CHECKING:
    from onnx_gapmil.auditing import PreparedData
    from onnx_gapmil.lift.tokens.modes import ClassTokenWish
    from onnx_gapmil.prediction.classifier import Classifier

#: Options that only a fit reads.
_OF_A_FIT = (
    "data", "labels", "names", "class_map", "label_offset", "preprocess", "no_guess", "thresholds", "batch", "group",
    "folds", "ridge", "seed", "require_better", "force", "scores",
)  # fmt: skip
_TAKES = "with --fit"


@click.command(name="repool")
@verb_options(
    model_argument,
    click.option(
        "--with",
        "aggregator",
        metavar="AGGREGATOR",
        help="What gives the image's logits in place of the mean: max, lse, lse=10, topk=0.2, softmax_weighted=2, "
        "noisy_or, median, generalized_mean=3, prob_mean. mean gives the vendor's graph back.",
    ),
    click.option(
        "--fit",
        is_flag=False,
        flag_value="mix",
        metavar="[FIT]",
        help="Fit the pool to labelled images instead: mix (the default: weights over aggregators), an aggregator "
        "calibrated alone (topk=0.05), flex (a weight for each position), flex:channel or flex:softmax (for each "
        "position and channel), head or head:AGGREGATOR (the last linear layer), sac or sac:TENSOR,... (auxiliary "
        "classifiers on earlier maps: a further output with a finer grid).",
    ),
    click.option("--data", type=data_place, metavar="DATA", help=f"{_TAKES}: the labelled images, as for audit."),
    click.option(
        "--labels",
        type=data_place,
        metavar="FILE",
        help=f"{_TAKES}: labels of the images in the folder DATA.",
    ),
    click.option(
        "-o",
        "--output",
        type=WRITTEN_FILE,
        metavar="FILE",
        help="Where to write. Default: MODEL.repooled.onnx beside the model.",
    ),
    click.option("--group", metavar="COLUMN", help=f"{_TAKES}: images with the same value stay in one half."),
    click.option("--folds", type=click.IntRange(2, 20), metavar="N", help=f"{_TAKES}: also judge by N folds."),
    click.option(
        "--ridge",
        type=click.FloatRange(0, 1e9),
        metavar="R",
        help=f"{_TAKES}: how strongly it is tied to where it began; found by folds of the fitted half by default.",
    ),
    click.option("--seed", type=click.IntRange(0), metavar="N", help=f"{_TAKES}: of the split. Default: 0."),
    click.option(
        "--require-better",
        is_flag=True,
        help=f"{_TAKES}: write the model only where the interval of what it gains lies above 0.",
    ),
    click.option(
        "--force",
        is_flag=True,
        help=f"{_TAKES}: write it also where the interval lies below 0, and fit by few images.",
    ),
    click.option(
        "--scores",
        is_flag=True,
        help="With --fit sac: let the auxiliary classifiers count in the scores of their output, and not only in its "
        "grid.",
    ),
    names_option,
    click.option(
        "--class-map",
        type=READ,
        metavar="FILE",
        help=f"{_TAKES}: which class of the model each label means.",
    ),
    click.option("--label-offset", type=int, metavar="N", help=f"{_TAKES}: class = label + N."),
    preprocess_option,
    no_guess_option,
    thresholds_option,
    batch_option,
    provider_option,
    head_option("to repool; all heads of classes by default, of a fit the first"),
    class_token_option,
    json_option,
)
def command(
    model: Path,
    aggregator: str | None,
    fit: str | None,
    output: Path | None,
    head: str | None,
    class_token: ClassTokenWish | None,
    provider: str,
    as_json: bool,
    **fitting: Any,
) -> int:
    """Write MODEL with another aggregator of its cells as its own pool, proved against NumPy.

    Inputs and outputs stay, and so does what stands behind the logits. Repooling a repooled file replaces its pool. A
    model that fails its proof is not written (exit code 1); a head that does not decompose, or whose logits cannot be
    replaced, is refused with a reason (exit code 3).

    With --fit half of the labelled images choose the pool, the trunk staying as it is, and the other half judges it:
    vendor, calibrated only and fitted side by side. A model whose interval lies below 0 is not written (exit code 1).
    --fit sac leaves the vendor's outputs alone and adds one whose grid is finer.

    Example: onnx-gapmil repool model.onnx --with lse=10 -o model.lse.onnx
    """
    if (aggregator is None) == (fit is None):
        raise click.UsageError("Give either --with AGGREGATOR or --fit [FIT].")
    if fit is not None:
        return _fit(model, fit, output, head, class_token, provider, as_json, fitting)
    stray = next((name for name in _OF_A_FIT if fitting[name] not in (None, False)), None)
    if stray is not None:
        raise click.UsageError(f"--{stray.replace('_', '-')} is for --fit.")
    from onnx_gapmil.rewriting.repooling import repool

    result = repool(model, aggregator or "", output, head=head, class_token=class_token)
    if as_json:
        print_json(result.to_json())
    else:
        from onnx_gapmil.lift.tokens.modes import CHANGES_NOTHING
        from onnx_gapmil.show.terminal.console import console
        from onnx_gapmil.show.terminal.repool_note import repool_note

        console().print(repool_note(result))
        if class_token is not None and not result.reads_class_token:
            say(f"note: {CHANGES_NOTHING}.")
    return 0


def _fit(
    model: Path,
    fit: str,
    output: Path | None,
    head: str | None,
    class_token: ClassTokenWish | None,
    provider: str,
    as_json: bool,
    given: dict[str, Any],
) -> int:
    if given["data"] is None:
        raise click.UsageError("--fit needs --data: labelled images.")
    from onnx_gapmil.auditing.preparation import Request
    from onnx_gapmil.fitting.pooling.wish import parse_fit
    from onnx_gapmil.running.pipeline.tuning import tune_process
    from onnx_gapmil.show.terminal.console import console
    from onnx_gapmil.validation.refitting.auxiliary import refit_auxiliary
    from onnx_gapmil.validation.refitting.auxiliary_text import auxiliary_note
    from onnx_gapmil.validation.refitting.refit import refit
    from onnx_gapmil.validation.refitting.request import FitRequest
    from onnx_gapmil.validation.refitting.text import fit_note

    wish = parse_fit(fit)
    if given["scores"] and wish.kind != "sac":
        raise click.UsageError("--scores is for --fit sac: all other fits are of the scores.")
    tune_process()
    data = Request(
        model=model,
        data=given["data"],
        labels=given["labels"],
        names=given["names"],
        class_map=given["class_map"],
        offset=given["label_offset"],
        preprocess=given["preprocess"],
        provider=provider,
        head=head,
        thresholds=given["thresholds"],
        batch=given["batch"],
        no_guess=given["no_guess"],
        class_token=class_token,
    )
    request = FitRequest(
        data=data,
        wish=wish,
        output=output,
        group=given["group"],
        folds=given["folds"] or 0,
        ridge=given["ridge"],
        seed=given["seed"] or 0,
        require_better=given["require_better"],
        force=given["force"],
        scores=given["scores"],
    )
    if wish.kind == "sac":
        with _Teller() as teller:
            added = refit_auxiliary(request, announce=teller.announce, progress=teller.reach, note=teller.next)
        if as_json:
            print_json(added.to_json())
        else:
            console().print(auxiliary_note(added))
        return 0 if added.written else 1
    with _Teller() as teller:
        found = refit(request, announce=teller.announce, progress=teller.reach, note=teller.next)
    if as_json:
        print_json(found.to_json())
    else:
        console().print(fit_note(found))
    return 0 if found.written else 1


class _Teller(Teller):
    """Of a fit."""

    def announce(self, classifier: Classifier, prepared: PreparedData) -> None:
        """Before the first image."""
        from onnx_gapmil.auditing.text import conditions_note

        self.begin(conditions_note(classifier, prepared), 0, len(prepared.samples))

    def next(self, text: str) -> None:
        """All images were run, and this is done now."""
        self.close()
        tell(text)
