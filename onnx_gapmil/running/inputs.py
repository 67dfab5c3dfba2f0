"""What a model takes, and whether given arrays are that: by name, type and shape, with or without the batch's axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy.typing as npt

from onnx_gapmil.errors import InputError
from onnx_gapmil.images.input_spec import InputSpec
from onnx_gapmil.ort.values import dtype_name

if TYPE_CHECKING:
    from onnx_gapmil.images.places import Places

Array = npt.NDArray[Any]
#: A first axis of ``batch`` has an item each; an input of ``one`` item has no such axis in the graph; what is
#: ``shared`` (a temperature) is the same for all items of a batch.
Share = Literal["batch", "one", "shared"]


@dataclass(frozen=True, slots=True)
class ModelInput:
    """One input of a graph.

    Attributes:
        spec: name, axes and type of what `ModelInputs.fitted` gives; of ``one`` item with a batch of 1 before its own.
        share: which part of the input each item of a batch has.
    """

    spec: InputSpec
    share: Share

    @property
    def text(self) -> str:
        """For messages: ``'x' (any, 3, 64, 64) of type float32``."""
        shape = self.spec.shape[1:] if self.share == "one" else self.spec.shape
        if self.share == "batch":
            shape = (None, *shape[1:])
        axes = ", ".join("any" if axis is None else str(axis) for axis in shape)
        return f"{self.spec.name!r} ({axes}{',' if len(shape) == 1 else ''}) of type {self.spec.dtype}"


class ModelInputs:
    """The inputs of one model.

    Args:
        values: of ONNX Runtime's session: name, shape and type of each input.
        places: of the heads, which say which input is the image.
        what: the model's name, for messages.

    Attributes:
        image: the input that the heads' cells look at; the first with four axes, or the first, where that is unknown.
    """

    def __init__(self, values: Sequence[Any], places: Sequence[Places], what: str) -> None:
        if not values:
            raise InputError(f"{what} has no input; it computes a constant.")
        self._what = what
        named = {value.name: value for value in values}
        seen = next((found for found in places if found.known and found.input in named), None)
        main = named[seen.input] if seen is not None else next((v for v in values if len(v.shape) == 4), values[0])
        alone = _is_one_photo(main, seen)
        entries = {
            name: _read(value, "one" if value is main and alone else _share(value, main, alone=alone))
            for name, value in named.items()
        }
        self.by_name: Mapping[str, ModelInput] = entries
        self.image = entries[main.name].spec
        self.takes_one = alone

    @property
    def text(self) -> str:
        """All of them, for messages."""
        return " and ".join(entry.text for entry in self.by_name.values())

    def fitted(self, given: Array | Mapping[str, Array]) -> tuple[dict[str, Array], int]:
        """Arrays by input, each with the batch's axis, and how many items they hold.

        Args:
            given: an array for each input by its name; one array for a model of one input. The batch's axis may be
                left out for a single item.

        Raises:
            InputError: a name, a type or a shape does not fit, or the arrays hold different numbers of items.
        """
        named = self._named(given)
        found = {name: self._fitted(self.by_name[name], array) for name, array in named.items()}
        counts = {name: len(found[name]) for name, entry in self.by_name.items() if entry.share != "shared"}
        count = counts.get(self.image.name, 1)
        if count == 0:
            raise InputError("The batch is empty: it has no image.")
        other = next((name for name, own in counts.items() if own != count and not self._is_fixed(name, own)), None)
        if other is not None:
            raise InputError(
                f"{counts[other]} items were given for the input {other!r} of {self._what}, and {count} for "
                f"{self.image.name!r}; give as many."
            )
        return found, count

    def is_shared(self, name: str, length: int, count: int) -> bool:
        """Whether an input is the same for every part of a batch."""
        return self.by_name[name].share == "shared" or (length != count and self._is_fixed(name, length))

    def _is_fixed(self, name: str, length: int) -> bool:
        return self.by_name[name].spec.shape[0] == length

    def _named(self, given: Array | Mapping[str, Array]) -> Mapping[str, Array]:
        if not isinstance(given, Mapping):
            if len(self.by_name) == 1:
                return {self.image.name: given}
            raise InputError(
                f"{self._what} takes {len(self.by_name)} inputs, {self.text}: give an array for each by its name."
            )
        unknown = next((name for name in given if name not in self.by_name), None)
        if unknown is not None:
            raise InputError(f"{self._what} has no input {unknown!r}; it takes {self.text}.")
        absent = next((name for name in self.by_name if name not in given), None)
        if absent is not None:
            raise InputError(f"No array was given for the input {absent!r} of {self._what}, which takes {self.text}.")
        return given

    def _fitted(self, entry: ModelInput, array: Array) -> Array:
        spec, given = entry.spec, array.shape
        if entry.share != "shared" and array.ndim == len(spec.shape) - 1:
            array = array[None]
        # The batch itself may have any length: a graph of a fixed one is run as often as it takes.
        first = 0 if entry.share == "shared" else 1
        axes = zip(array.shape[first:], spec.shape[first:], strict=False)
        fits = array.ndim == len(spec.shape) and all(own is None or axis == own for axis, own in axes)
        if not fits or array.dtype.name != spec.dtype:
            advice = f" Make it one by .astype({spec.dtype!r})." if fits else ""
            raise InputError(
                f"An array of shape {given} and type {array.dtype.name} does not fit the input {spec.name!r} of "
                f"{self._what}, which takes {entry.text.removeprefix(repr(spec.name)).strip()}.{advice}"
            )
        # NumPy calls both orders of bytes float32; ONNX Runtime reads the processor's own, whatever was given.
        return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def _read(value: Any, share: Share) -> ModelInput:
    axes = tuple(axis if isinstance(axis, int) and axis > 0 else None for axis in value.shape)
    spec = InputSpec(value.name, axes, dtype_name(value.type))
    return ModelInput(replace(spec, shape=(1, *axes)) if share == "one" else spec, share)


def _is_one_photo(value: Any, places: Places | None) -> bool:
    """Whether an input is one photo without a batch, (H, W, 3): its places take up two of its three axes."""
    if len(value.shape) != 3:
        return False
    if places is not None:
        return places.rows is not None and places.columns is not None
    open_size = not any(isinstance(axis, int) for axis in value.shape[:2])
    return open_size and value.shape[2] in (1, 3, 4) and dtype_name(value.type) == "uint8"


def _share(value: Any, main: Any, *, alone: bool) -> Share:
    """Whether an input has an item for each of the batch: by the first axis of the image's."""
    if value is main:
        return "batch" if value.shape else "shared"
    if alone or not value.shape:
        return "shared"
    if value.shape[0] == main.shape[0]:
        return "batch"
    # Exporters name the batch of each input anew.
    is_open = len(value.shape) > 1 and not isinstance(value.shape[0], int) and not isinstance(main.shape[0], int)
    return "batch" if is_open else "shared"
