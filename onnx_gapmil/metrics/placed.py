"""Figures that need to know where the objects are: of a whole data set, and of its slices alike."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from onnx_gapmil.metrics.causes import CAUSES
from onnx_gapmil.metrics.figures import (
    BackgroundFigures,
    ErrorCauses,
    ForegroundFigures,
    MeanMargin,
    Recoverable,
    RecoveryFigures,
    WrongRecoveryFigures,
)
from onnx_gapmil.metrics.foreground import Recovery
from onnx_gapmil.metrics.image import ImageMeasures
from onnx_gapmil.metrics.means import Means, plain_mean

Images = Sequence[ImageMeasures]


def pointing_figures(images: Images, means: Means) -> tuple[float | None, float | None, float | None]:
    """The pointing game, what the photo's centre would win of it, and the difference."""
    known = [image.pointing for image in images if image.pointing is not None]
    hits = _games((each.hits, each.games) for each in known)
    centre = _games((each.centre, each.games) for each in known)
    return (
        means.of("pointing_game", hits),
        means.of("pointing_game_centre", centre),
        means.difference("pointing_game_excess", [float(own) - other for own, other in zip(hits, centre, strict=True)]),
    )


def _games(won: Iterable[tuple[int, int]]) -> list[bool]:
    """Each game by itself, as the source counts; an image with objects of several kinds has several."""
    return [place < hits for hits, games in won for place in range(games)]


def foreground_figures(images: Images, means: Means) -> ForegroundFigures | None:
    """Foreground recovery of right and wrong images, with the control of errors; None without a known object."""
    right = _recovery([image.foreground for image in images if image.right], "right", means)
    errors = [(image.foreground, image.control) for image in images if not image.right]
    wrong = _beside_control(_recovery([each for each, _ in errors], "wrong", means), errors, means)
    return ForegroundFigures(right, wrong) if right.images or wrong.images else None


def _beside_control(
    found: RecoveryFigures, errors: Sequence[tuple[Recovery | None, float | None]], means: Means
) -> WrongRecoveryFigures:
    """The recovery of errors, and what classes that cannot know win in the same cells of the same images."""
    pairs = [
        (float(foreground.any_top1), control)
        for foreground, control in errors
        if foreground is not None and control is not None
    ]
    return WrongRecoveryFigures(
        **vars(found),
        control_any_top1=means.of("foreground.wrong.control_any_top1", [control for _, control in pairs]),
        excess=means.difference("foreground.wrong.excess", [won - control for won, control in pairs]),
    )


def _recovery(images: Sequence[Recovery | None], kind: str, means: Means) -> RecoveryFigures:
    """Means over images. An image without a background cell has none with the true class on top: it counts as 0."""
    found = [each for each in images if each is not None]
    name = f"foreground.{kind}."
    return RecoveryFigures(
        images=len(found),
        any_top1=means.of(name + "any_top1", [each.any_top1 for each in found]),
        any_top5=means.of(name + "any_top5", [each.any_top5 for each in found]),
        most_top1=means.of(name + "most_top1", [each.most_top1 for each in found]),
        most_top5=means.of(name + "most_top5", [each.most_top5 for each in found]),
        cell_share=means.of(name + "cell_share", [each.cell_share for each in found]),
        background_share=means.of(name + "background_share", [each.background_share or 0.0 for each in found]),
        with_background=sum(each.background_share is not None for each in found),
    )


def error_figures(images: Images, means: Means) -> tuple[Recoverable, ErrorCauses]:
    """Errors that a cell on the object knows better, and all by their cause."""
    wrong = [(image.cause, image.margin, bool(image.recoverable)) for image in images if image.cause is not None]
    causes = [cause for cause, _, _ in wrong]
    margins = [margin for _, margin, _ in wrong if margin is not None]
    for cause in CAUSES:  # counts, and not shares: an interval of the share says nothing of them
        means.count(f"error_causes.{cause}", len(causes))
    for place in ("foreground", "background"):
        known = [value for value in (getattr(each, place) for each in margins) if value is not None]
        means.count(f"recoverable.margin.{place}", len(known))
    recoverable = [recoverable for _, _, recoverable in wrong]
    return (
        Recoverable(
            images=sum(recoverable),
            of=len(wrong),
            share=means.of("recoverable.share", recoverable),
            margin=MeanMargin(
                plain_mean([each.foreground for each in margins]), plain_mean([each.background for each in margins])
            ),
        ),
        ErrorCauses(**{cause: causes.count(cause) for cause in CAUSES}),
    )


def background_figures(images: Images, means: Means) -> BackgroundFigures | None:
    """Where the evidence for the answer lies, beside its baselines; None without a known object."""
    known = [(image.right, image.background) for image in images if image.background is not None]
    if not known:
        return None
    shares = [each.share for _, each in known]
    of_right = [each.share for right, each in known if right and each.share is not None]
    wrong = [each for right, each in known if not right]
    means.count("background.right_mostly_background", len(of_right))
    means.count("background.only_background_errors", len(wrong))
    return BackgroundFigures(
        images=sum(share is not None for share in shares),
        share=means.of("background_reliance", shares),
        right=means.of("background.right", of_right),
        wrong=means.of("background.wrong", [each.share for each in wrong]),
        centred_box=means.of("background.centred_box", [each.centred for _, each in known]),
        random_box=means.of("background.random_box", [each.random for _, each in known]),
        over_centred_box=means.difference(
            "background.over_centred_box",
            [each.share - each.centred for _, each in known if each.share is not None and each.centred is not None],
        ),
        right_mostly_background=sum(share > 0.5 for share in of_right),
        only_background_errors=sum(each.only_background for each in wrong),
    )
