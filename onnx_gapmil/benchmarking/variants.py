"""The graphs that are held against each other: the original, and one rewritten graph for each emission."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from onnx_gapmil.benchmarking.sessions import timed_session
from onnx_gapmil.errors import InputError
from onnx_gapmil.graph.loading import LoadedModel
from onnx_gapmil.graph.macs import count_work
from onnx_gapmil.rewriting.emission.emit import Emit
from onnx_gapmil.rewriting.rewriter import rewrite_model

if TYPE_CHECKING:
    from typing import Any

    from onnx_gapmil.graph.inputs import InputShape
    from onnx_gapmil.graph.trace import Trace
    from onnx_gapmil.lift.verdict import Verdict
    from onnx_gapmil.ort.providers import ProviderChoice

ORIGINAL = "original"


@dataclass(frozen=True)
class Variant:
    """One graph to measure.

    Attributes:
        name: `ORIGINAL`, or the emission as it was asked for.
        model: the graph, and where its external data lies.
        outputs: what a run asks for: the vendor's outputs, then the new ones.
    """

    name: str
    model: LoadedModel
    outputs: tuple[str, ...]

    def session(self, choice: ProviderChoice) -> Any:
        """A session of its own.

        Raises:
            ModelError: ONNX Runtime cannot load the model.
            ProviderError: the provider was asked for by name, and not one node runs on it.
        """
        data, folder = self.model.session_source()
        return timed_session(data, choice, what=f"The graph of {self.name!r}", external_data_folder=folder)


def build_variants(model: LoadedModel, emissions: tuple[str, ...]) -> tuple[tuple[Variant, ...], Trace, Verdict]:
    """The original and one rewritten graph for each emission.

    Args:
        model: as it was read, or a copy of it in another precision.
        emissions: as `rewrite --emit` spells them.

    Returns:
        The variants, the original first; the shapes that the heads were found by; the verdict.

    Raises:
        InputError: the model was rewritten before, or an emission is not understood.
        ModelError: the model cannot be read or run.
        UnsupportedHeadError: no output has a head that can be lifted.
    """
    if model.is_rewritten:
        raise InputError(
            f"{model.name} is a rewritten model already, so there is no original to hold it against; "
            "name the vendor's model."
        )
    wishes = [(emission, Emit.of(emission)) for emission in emissions]
    variants = [_variant(ORIGINAL, model)]
    found: list[tuple[Trace, Verdict]] = []
    for emission, wish in wishes:
        rewritten = rewrite_model(model, emit=wish)
        if rewritten.trace is not None:
            found.append((rewritten.trace, rewritten.verdict))
        variants.append(_variant(emission, replace(model, proto=rewritten.model)))
    return tuple(variants), *found[0]


def _variant(name: str, model: LoadedModel) -> Variant:
    return Variant(name, model, tuple(value.name for value in model.proto.graph.output))


def added_share(variants: tuple[Variant, ...], inputs: tuple[InputShape, ...]) -> dict[str, tuple[int, float | None]]:
    """For each variant its multiply-adds, and those of the original times what: 1 and the share of what was added.

    None where the original has no multiply-adds that are counted.
    """
    counts = {variant.name: count_work(variant.model.proto, variant.model.folder, inputs).macs for variant in variants}
    whole = counts[ORIGINAL]
    return {name: (count, count / whole if whole else None) for name, count in counts.items()}
