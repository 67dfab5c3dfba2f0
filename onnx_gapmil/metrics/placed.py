"""Figures that need to know where the objects are: of a whole data set, and of its slices alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

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
from onnx_gapmil.metrics.means import Means, plain_mean

if TYPE_CHECKING:
    from onnx_gapmil.files.columns import Numbers
    from onnx_gapmil.metrics.columns import ImageNumbers


def pointing_figures(images: ImageNumbers, means: Means) -> tuple[float | None, float | None, float | None]:
    """The pointing game, what the photo's centre would win of it, and the difference."""
    games = images["pointing.games"]
    played = games > 0
    hits = _games(images["pointing.hits"][played], games[played])
    centre = _games(images["pointing.centre"][played], games[played])
    return (
        means.of("pointing_game", hits),
        means.of("pointing_game_centre", centre),
        means.difference("pointing_game_excess", hits.astype(np.float64) - centre),
    )


def _games(won: Numbers, games: Numbers) -> Numbers:
    """Each game by itself, as the source counts; an image with objects of several kinds has several."""
    first = np.cumsum(games, dtype=np.int64) - games
    place = np.arange(int(games.sum())) - np.repeat(first, games)
    return (place < np.repeat(won, games)).astype(np.int8)


def foreground_figures(images: ImageNumbers, means: Means) -> ForegroundFigures | None:
    """Foreground recovery of right and wrong images, with the control of errors; None without a known object."""
    known, answered = images["foreground.any_top1"] >= 0, images["right"] == 1
    right = _recovery(images, known & answered, "right", means)
    errors = known & ~answered
    wrong = _beside_control(_recovery(images, errors, "wrong", means), images, errors, means)
    return ForegroundFigures(right, wrong) if right.images or wrong.images else None


def _beside_control(
    found: RecoveryFigures, images: ImageNumbers, errors: Numbers, means: Means
) -> WrongRecoveryFigures:
    """The recovery of errors, and what classes that cannot know win in the same cells of the same images."""
    paired = errors & ~np.isnan(images["control"])
    control = images["control"][paired]
    return WrongRecoveryFigures(
        **vars(found),
        control_any_top1=means.of("foreground.wrong.control_any_top1", control),
        excess=means.difference("foreground.wrong.excess", images["foreground.any_top1"][paired] - control),
    )


def _recovery(images: ImageNumbers, chosen: Numbers, kind: str, means: Means) -> RecoveryFigures:
    """Means over images. An image without a background cell has none with the true class on top: it counts as 0."""

    def mean(field: str) -> float | None:
        return means.of(f"foreground.{kind}.{field}", images[f"foreground.{field}"][chosen])

    background = images["foreground.background_share"][chosen]
    with_background = ~np.isnan(background)
    return RecoveryFigures(
        images=int(np.count_nonzero(chosen)),
        any_top1=mean("any_top1"),
        any_top5=mean("any_top5"),
        most_top1=mean("most_top1"),
        most_top5=mean("most_top5"),
        cell_share=mean("cell_share"),
        background_share=means.of(f"foreground.{kind}.background_share", np.where(with_background, background, 0.0)),
        with_background=int(np.count_nonzero(with_background)),
    )


def error_figures(images: ImageNumbers, means: Means) -> tuple[Recoverable, ErrorCauses]:
    """Errors that a cell on the object knows better, and all by their cause."""
    wrong = images["cause"] >= 0
    causes = images["cause"][wrong]
    for cause in CAUSES:  # counts, and not shares: an interval of the share says nothing of them
        means.count(f"error_causes.{cause}", len(causes))
    margins = {place: images[f"margin.{place}"][wrong] for place in ("foreground", "background")}
    for place, values in margins.items():
        means.count(f"recoverable.margin.{place}", int(np.count_nonzero(~np.isnan(values))))
    recoverable = images["recoverable"][wrong] == 1
    return (
        Recoverable(
            images=int(np.count_nonzero(recoverable)),
            of=len(causes),
            share=means.of("recoverable.share", recoverable.astype(np.int8)),
            margin=MeanMargin(plain_mean(margins["foreground"]), plain_mean(margins["background"])),
        ),
        ErrorCauses(**{cause: int(np.count_nonzero(causes == place)) for place, cause in enumerate(CAUSES)}),
    )


def background_figures(images: ImageNumbers, means: Means) -> BackgroundFigures | None:
    """Where the evidence for the answer lies, beside its baselines; None without a known object."""
    known = images["background.only_background"] >= 0
    if not known.any():
        return None
    share, centred = images["background.share"], images["background.centred"]
    spoken = ~np.isnan(share)
    right, wrong = images["right"] == 1, known & (images["right"] != 1)
    of_right, both = share[right & spoken], spoken & ~np.isnan(centred)
    means.count("background.right_mostly_background", len(of_right))
    means.count("background.only_background_errors", int(np.count_nonzero(wrong)))
    return BackgroundFigures(
        images=int(np.count_nonzero(spoken)),
        share=means.of("background_reliance", share),
        right=means.of("background.right", of_right),
        wrong=means.of("background.wrong", share[wrong]),
        centred_box=means.of("background.centred_box", centred),
        random_box=means.of("background.random_box", images["background.random"]),
        over_centred_box=means.difference("background.over_centred_box", share[both] - centred[both]),
        right_mostly_background=int(np.count_nonzero(of_right > 0.5)),
        only_background_errors=int(np.count_nonzero(images["background.only_background"][wrong] == 1)),
    )
