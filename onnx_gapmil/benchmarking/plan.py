"""What to measure, and how the command line spells it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from onnx_gapmil.errors import InputError

if TYPE_CHECKING:
    from onnx_gapmil.lift.tokens.modes import ClassTokenWish

#: What is measured where nothing is asked for: the rewrite's default, and what is cheaper than it.
EMISSIONS = ("features,grid", "grid", "topk:5", "argmax")
BATCHES = (1, 8)
PRECISIONS = ("fp32", "fp16")
SECONDS = 5.0
_MAX_BATCH = 65536


@dataclass(frozen=True)
class BenchPlan:
    """What to measure.

    Attributes:
        emissions: what the rewritten graphs emit, as `rewrite --emit` spells it.
        batches: batch sizes; empty for 1 and 8, or the one that the graph fixes.
        providers: by their short names; empty for the CPU, and CUDA where it works.
        precisions: "fp32", "fp16"; empty for the file as it is.
        size: (height, width) of the image; a graph that fixes another is opened for it. None to find it out.
        seconds: of measuring for each batch size, all graphs together.
        memory: measure peak memory too, in a fresh process for each graph.
        head: the output whose head alone is lifted, of a model with several; None for all.
        class_token: lift heads that read a class token, by ``direct``, ``through`` or ``auto``; None refuses them.
    """

    emissions: tuple[str, ...] = EMISSIONS
    batches: tuple[int, ...] = ()
    providers: tuple[str, ...] = ()
    precisions: tuple[str, ...] = ()
    size: tuple[int, int] | None = None
    seconds: float = SECONDS
    memory: bool = field(default=True)
    head: str | None = None
    class_token: ClassTokenWish | None = None

    def __post_init__(self) -> None:
        if not self.emissions:
            raise InputError("There is nothing to hold the original against: name at least one emission.")
        if not self.seconds > 0 or self.seconds > 86400:
            raise InputError(f"--seconds {self.seconds:g}: a number above 0 and up to 86400 is needed.")
        for batch in self.batches:
            if not 1 <= batch <= _MAX_BATCH:
                raise InputError(f"--batch {batch}: a batch has between 1 and {_MAX_BATCH} images.")
        for precision in self.precisions:
            if precision not in PRECISIONS:
                raise InputError(f"--precision {precision!r} is not known; there are: {', '.join(PRECISIONS)}.")


def parse_words(text: str | None) -> tuple[str, ...]:
    """``"cpu, cuda"`` as ("cpu", "cuda"), each once."""
    words = (word.strip().lower() for word in (text or "").split(","))
    return tuple(dict.fromkeys(word for word in words if word))


def parse_batches(text: str | None) -> tuple[int, ...]:
    """``"1,8,32"`` as (1, 8, 32).

    Raises:
        InputError: a word that is no whole number.
    """
    words = parse_words(text)
    wrong = next((word for word in words if not word.isascii() or not word.isdigit()), None)
    if wrong is not None:
        raise InputError(f"--batch {text!r}: {wrong!r} is no whole number; write it like 1,8,32.")
    return tuple(dict.fromkeys(int(word) for word in words))
