"""The picture of a prediction, with what its reader must know of model and preprocessing."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from onnx_gapmil.errors import InputError
from onnx_gapmil.prediction.answers import ImagePrediction
from onnx_gapmil.prediction.head_answer import HeadPrediction
from onnx_gapmil.show.drawing.names import undrawable
from onnx_gapmil.show.drawing.pictures import render_prediction
from onnx_gapmil.show.drawing.sentences import Caption

if TYPE_CHECKING:
    from onnx_gapmil.images.preprocess import Preprocess
    from onnx_gapmil.images.resolve import ResolvedPreprocess

#: Folders of a machine are no matter of a picture that goes elsewhere.
_FOLDERS = re.compile(r"(?<!\S)(?:[A-Za-z]:)?[\\/]\S*[\\/](?=\S)")
_NOT_STATED = ("a guess", "a default")
_IN_BRACKETS = re.compile(r" \([^()]*(?:\([^()]*\)[^()]*)*\)$")
_BY_POSITION = (
    "Position-dependent head: each place has weights of its own, so a cell's logit is its share of the image's logit, "
    "and not what the model would say of that cell alone or elsewhere."
)
_CONDITIONAL = (
    "Conditional head: a cell's logit depends on the whole photo too, not on that cell alone; the mean over cells is "
    "still the image's logit."
)
_CONDITIONAL_CELLS = "Conditional head: a cell's logit depends on the whole photo too, not on that cell alone."


def draw_prediction(
    found: ImagePrediction, head: HeadPrediction, *, model: str, path: Path | None, used: ResolvedPreprocess
) -> npt.NDArray[np.uint8]:
    """The picture of a head's answer to a photo: photo, winners, evidence, scores.

    Args:
        found: with its photo and grid.
        head: which of its heads.
        model: its name.
        path: where it lies; None for one in memory.
        used: how the photo became the model's input.

    Returns:
        (height, width, 3) RGB uint8.

    Raises:
        InputError: the photo or the grid was not kept, or where the cells lie is not known.
    """
    if found.photo is None or head.grid is None or found.geometry is None:
        raise InputError("the photo and its grid were not kept, so there is nothing to draw.")
    if not head.arranged:
        raise InputError(f"where the cells of {head.output!r} lie is not known, so they are not drawn on the photo.")
    return render_prediction(
        found.photo,
        found.geometry_of(head),
        head.grid,
        head.logits,
        labels=head.names,
        activation=head.reading.activation,
        levels=head.reading.levels(len(head.logits)) if head.multi_label else None,
        one_logit=head.one_logit,
        chosen=None if head.chosen is None else [entry.index for entry in head.chosen],
        caption=_caption(found, head, model, path, used),
        seen=found.geometry,
        pools=head.pool_weights,
    )


def _caption(
    found: ImagePrediction, head: HeadPrediction, model: str, path: Path | None, used: ResolvedPreprocess
) -> Caption:
    several = f" · output {head.output}" if len(found.heads) > 1 else ""
    notes = [_CONDITIONAL] if head.verdict == "conditional" and head.pool == "mean" else []
    notes += [_CONDITIONAL_CELLS] if head.verdict == "conditional" and head.pool != "mean" else []
    notes += [_BY_POSITION] if head.position_dependent else []
    undrawn = [other.output for other in found.heads if not other.arranged]
    notes += [f"Where the cells of {_listed(undrawn)} lie is not known: not drawn."] if undrawn else []
    return Caption(
        title=found.image.name if found.image is not None else "Photo",
        model=f"{model}{several} · {head.said_verdict} head{head.said_placeless}",
        preprocessing=f"{in_short(used.preprocess)} · {without_folders(origin(used), path)}",
        guessed=f"{', '.join(used.guessed)} guessed".strip() if used.assumed else "",
        notes=tuple(notes),
        pool=head.pool,
    )


def without_folders(text: str, path: Path | None) -> str:
    """A text in which files stand by their names alone: what goes elsewhere says nothing of the machine.

    Args:
        text: of a source.
        path: where the model lies; None for one in memory.
    """
    folder = f"{path.parent}{os.sep}" if path is not None else "\0"
    return _FOLDERS.sub("", text.replace(folder, ""))


def in_short(used: Preprocess) -> str:
    """A preprocessing in the words that its pictures have room for: ``RGB 224 × 224, squashed, bilinear, ...``."""
    height, width = used.size
    resized = {"squash": "squashed", "shortest": "shorter side fitted", "letterbox": "letterboxed"}[used.resize]
    crop = f", centre crop {used.crop:.3g}" if used.crop != 1 else ""
    numbers = f"pixel × {used.scale:.4g}"
    if any(used.mean):
        numbers += f" − {_numbers(used.mean)}"
    if any(value != 1 for value in used.std):
        numbers = f"({numbers}) / {_numbers(used.std)}"
    full = f", full scale {used.full_scale}" if used.full_scale is not None else ""
    return f"{used.color} {width} × {height} (width × height), {resized}{crop}, {used.interpolation}, {numbers}{full}"


def origin(used: ResolvedPreprocess) -> str:
    """Where a preprocessing comes from, in short: what states its parts, and which are defaults."""
    if not used.parts:
        return used.source
    stated = dict.fromkeys(
        _IN_BRACKETS.sub("", of) for of in used.parts.values() if not of.startswith((*_NOT_STATED, "the model's input"))
    )
    default = [part for part, of in used.parts.items() if of.startswith("a default")]
    said = f"stated by {' and '.join(stated)}" if stated else "nothing states it"
    if len(stated) == 1 and not used.assumed and not default:  # one source of all parts: a file, a preset, as given
        (said,) = stated
        said = said[0].lower() + said[1:] if said.startswith("As ") else said
    return f"{said}; {', '.join(default)} by default" if default else said


def spelled_names(names: Sequence[str] | None) -> str | None:
    """What to say where names have letters that no font of this machine has; None where all can be drawn."""
    lacking = undrawable(names)
    if names is None or not lacking:
        return None
    first = ", ".join(f"{names[index]} ({index})" for index in lacking[:3])
    more = f" and {len(lacking) - 3} more" if len(lacking) > 3 else ""
    return (
        f"no font on this machine has the letters of {first}{more}: pictures show their numbers and spell them out; "
        "install Noto's fonts (https://notofonts.github.io) for them"
    )


def _numbers(values: Sequence[float]) -> str:
    distinct = sorted(set(values))
    return f"{distinct[0]:.4g}" if len(distinct) == 1 else "(" + ", ".join(f"{value:.4g}" for value in values) + ")"


def _listed(outputs: Sequence[str]) -> str:
    return ", ".join(f"output {output}" for output in outputs)
