"""How photos become a model's input, or why it takes none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from onnx_gapmil.errors import PreprocessError
from onnx_gapmil.images.preprocess import Preprocess
from onnx_gapmil.images.resolve import ResolvedPreprocess, resolve_preprocess, resolved_of
from onnx_gapmil.prediction.array_photos import is_photo

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from onnx_gapmil.images.input_spec import InputSpec
    from onnx_gapmil.rewriting.result import Rewrite
    from onnx_gapmil.running.grid_session import GridSession


@dataclass(frozen=True)
class PhotoInput:
    """How photos become the model's input; why it takes none is no matter where it is given arrays.

    Attributes:
        found: how, or why it takes none.
        no_guess: refuse what is a guess, in whole or in part.
    """

    found: ResolvedPreprocess | PreprocessError
    no_guess: bool = False

    @property
    def resolved(self) -> ResolvedPreprocess:
        """How.

        Raises:
            PreprocessError: the model takes no photo; or it would be a guess, which is refused.
        """
        if isinstance(self.found, PreprocessError):
            raise self.found
        if self.no_guess:
            self.found.require_stated()
        return self.found

    def is_photo(self, image: npt.NDArray[Any], spec: InputSpec) -> bool:
        """Whether an array is a photo's pixels, and the model takes photos."""
        if isinstance(self.found, PreprocessError):
            return False
        return is_photo(image, spec, self.found.preprocess.full_scale)


def photo_input(
    rewrite: Rewrite, session: GridSession, asked: Preprocess | str | Path | None, *, no_guess: bool = False
) -> PhotoInput:
    """How photos become the input of a model.

    Args:
        rewrite: the model.
        session: runs it.
        asked: a `Preprocess`, a preset's name or a JSON file; None to look beside the model and in it.
        no_guess: see `PhotoInput`.

    Raises:
        PreprocessError: something was asked for of a model that takes no photo, or will not do.
    """
    error = _no_photos(rewrite, session)
    if error is None:
        return PhotoInput(_of_photos(rewrite, session, asked), no_guess)
    if asked is not None:
        raise error
    return PhotoInput(error, no_guess)


def _no_photos(rewrite: Rewrite, session: GridSession) -> PreprocessError | None:
    inputs = session.inputs
    if len(inputs.by_name) > 1:
        return PreprocessError(
            f"{rewrite.source.name} takes {len(inputs.by_name)} inputs, {inputs.text}, and a photo is one: give an "
            ".npz file that holds an array of each by its name."
        )
    try:
        session.input.channels()
    except PreprocessError as error:
        return PreprocessError(f"{error} Photos cannot be given to it; an array (.npy) of that shape can.")
    return None


def _of_photos(rewrite: Rewrite, session: GridSession, asked: Preprocess | str | Path | None) -> ResolvedPreprocess:
    source = rewrite.source
    if isinstance(asked, Preprocess):
        return resolved_of(
            asked,
            "As given",
            input_spec=session.input,
            metadata=source.metadata,
            proto=source.proto,
            folder=source.folder,
            sized=rewrite.size is not None,
        )
    return resolve_preprocess(
        session.input,
        request=str(asked) if asked is not None else None,
        model_path=source.path,
        metadata=source.metadata,
        proto=source.proto,
        sized=rewrite.size is not None,
    )
