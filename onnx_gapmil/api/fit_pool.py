"""`fit_pool`: the pool fitted to labelled images, judged, and written where it holds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from onnx_gapmil.api.arguments import path_of, place_of, text_of
from onnx_gapmil.api.places import takes_urls
from onnx_gapmil.auditing.preparation import Request
from onnx_gapmil.files.urls import given_place
from onnx_gapmil.fitting.pooling.wish import parse_fit
from onnx_gapmil.validation.refitting.refit import refit
from onnx_gapmil.validation.refitting.request import FitRequest

if TYPE_CHECKING:
    from collections.abc import Callable

    from onnx_gapmil.lift.tokens.modes import ClassTokenWish
    from onnx_gapmil.validation.refitting.result import PoolFit


@takes_urls(read=("model", "names", "class_map", "preprocess", "thresholds"), files=("output",))
def fit_pool(
    model: str | Path,
    data: str | Path,
    fit: str = "mix",
    output: str | Path | None = None,
    *,
    labels: str | Path | None = None,
    names: str | Path | None = None,
    class_map: str | Path | None = None,
    label_offset: int | None = None,
    preprocess: str | Path | None = None,
    provider: str = "auto",
    head: str | None = None,
    thresholds: float | str | Path | None = None,
    batch: int | None = None,
    no_guess: bool = False,
    class_token: ClassTokenWish | None = None,
    group: str | None = None,
    folds: int = 0,
    ridge: float | None = None,
    seed: int = 0,
    require_better: bool = False,
    force: bool = False,
    progress: Callable[[int], None] | None = None,
) -> PoolFit:
    """Fit a classifier's pool to one half of labelled images, judge it by the other, and write the model.

    The trunk stays as it is. The model is written, proved as `repool` proves it, unless the paired 95 % interval of
    what it gains over the vendor's (accuracy, or mean average precision of several labels at once) lies below 0.

    Args:
        model: path of an ``.onnx`` file.
        data: labelled images, as `audit` takes them, at least 20.
        fit: ``mix``: weights over aggregators; an aggregator, such as ``topk=0.05``: its temperature and class biases;
            ``flex``: a weight for each position; ``flex:channel`` or ``flex:softmax``: for each position and channel;
            ``head`` or ``head:AGGREGATOR``: the last linear layer, under an aggregator.
        output: where to write; ``MODEL.repooled.onnx`` beside the model if None.
        labels: see `audit`, as for what follows.
        names: of the classes.
        class_map: which class each label means.
        label_offset: class = label + offset.
        preprocess: how photos become inputs.
        provider: where to run.
        head: the output whose pool is fitted, of a model with several.
        thresholds: probabilities above which a class is present; a head of bare logits is read as multi-label by them.
        batch: images at a time.
        no_guess: refuse a preprocessing that would be a guess.
        class_token: lift heads that read a class token.
        group: column of the data whose images stay in one half; ``group``, where there is one, if None.
        folds: also judge by so many folds of all images; 0 does not.
        ridge: how strongly the fit is tied to where it began; found by folds of the fitted half if None.
        seed: of the split.
        require_better: write the model only where the interval lies above 0.
        force: write it whatever the interval says, and fit however few images there are for a weight.
        progress: called with the number of images that were run.

    Returns:
        The pool and its judgement; `PoolFit.reason` says why nothing was written.

    Raises:
        InputError: model, data, labels, preprocessing or place will not do, or there are too few images.
        UnsupportedHeadError: the head cannot be lifted, or its logits cannot be replaced.
        ProofError: the proof failed, and nothing is written.
    """
    request = FitRequest(
        data=Request(
            model=Path(model),
            data=given_place(data),
            labels=place_of(labels),
            names=path_of(names),
            class_map=path_of(class_map),
            offset=label_offset,
            preprocess=text_of(preprocess),
            provider=provider,
            head=head,
            thresholds=text_of(thresholds),
            batch=batch,
            no_guess=no_guess,
            class_token=class_token,
        ),
        wish=parse_fit(fit),
        output=path_of(output),
        group=group,
        folds=folds,
        ridge=ridge,
        seed=seed,
        require_better=require_better,
        force=force,
    )
    return refit(request, progress=progress if progress is not None else lambda _: None)
