"""`fit_auxiliary`: auxiliary classifiers fitted to labelled images, judged, and written as a finer grid."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from onnx_gapmil.api.arguments import path_of, place_of, text_of
from onnx_gapmil.api.places import takes_urls
from onnx_gapmil.auditing.preparation import Request
from onnx_gapmil.files.urls import given_place
from onnx_gapmil.fitting.pooling.wish import FitWish
from onnx_gapmil.validation.refitting.auxiliary import refit_auxiliary
from onnx_gapmil.validation.refitting.request import FitRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from onnx_gapmil.validation.refitting.auxiliary_result import AuxiliaryFit


@takes_urls(read=("model", "names", "class_map", "preprocess", "thresholds"), files=("output",))
def fit_auxiliary(
    model: str | Path,
    data: str | Path,
    tensors: Sequence[str] = (),
    output: str | Path | None = None,
    *,
    scores: bool = False,
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
    group: str | None = None,
    ridge: float | None = None,
    seed: int = 0,
    require_better: bool = False,
    force: bool = False,
    progress: Callable[[int], None] | None = None,
) -> AuxiliaryFit:
    """Fit auxiliary classifiers to earlier maps of a classifier, and write it with a further output of a finer grid.

    Each is a linear layer on one map (a 1x1 convolution; arXiv 2606.14926), fitted to one half of labelled images. Its
    cells are added with a small weight to the head's own, read at the map's places. The other half measures where both
    grids see the objects of its boxes. The vendor's outputs stay as they are.

    Args:
        model: path of an ``.onnx`` file.
        data: labelled images, as `audit` takes them, at least 20.
        tensors: names of maps with more rows and columns than the head's grid; the last one of each resolution up to
            four times as fine if there are none.
        output: where to write; ``MODEL.repooled.onnx`` beside the model if None.
        scores: let the classifiers count in the scores of the new output; else these are the vendor's.
        labels: see `audit`, as for what follows.
        names: of the classes.
        class_map: which class each label means.
        label_offset: class = label + offset.
        preprocess: how photos become inputs.
        provider: where to run.
        head: the output whose grid is refined, of a model with several.
        thresholds: probabilities above which a class is present; a head of bare logits is read as multi-label by them.
        batch: images at a time.
        no_guess: refuse a preprocessing that would be a guess.
        group: column of the data whose images stay in one half; ``group``, where there is one, if None.
        ridge: how strongly each classifier is tied to 0; found by folds of the fitted half if None.
        seed: of the split.
        require_better: write the model only where the interval of what decides lies above 0.
        force: write it whatever the interval says.
        progress: called with the number of images that were run.

    Returns:
        The classifiers and their judgement; `AuxiliaryFit.reason` says why nothing was written.

    Raises:
        InputError: model, data, labels, tensors, preprocessing or place will not do, or there are too few images.
        UnsupportedHeadError: the head cannot be lifted.
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
        ),
        wish=FitWish("sac", tensors=tuple(tensors)),
        output=path_of(output),
        group=group,
        ridge=ridge,
        seed=seed,
        require_better=require_better,
        force=force,
        scores=scores,
    )
    return refit_auxiliary(request, progress=progress if progress is not None else lambda _: None)
