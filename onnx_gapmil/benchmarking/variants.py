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
    from onnx_gapmil.lift.tokens.modes import ClassTokenWish
    from onnx_gapmil.ort.providers import ProviderChoice
    from onnx_gapmil.rewriting.result import Rewrite

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


def build_variants(
    model: LoadedModel,
    emissions: tuple[str, ...],
    *,
    fitting: bool = False,
    head: str | None = None,
    class_token: ClassTokenWish | None = None,
) -> tuple[tuple[Variant, ...], Trace, Rewrite]:
    """The original and one rewritten graph for each emission.

    Args:
        model: as it was read, or a copy of it in another precision.
        emissions: as `rewrite --emit` spells them.
        fitting: nobody asked for these, so that ``topk:K`` asks for no more classes than a head has.
        head: the output whose head alone is lifted, of a model with several.
        class_token: how a head that reads a class token is lifted; None refuses it.

    Returns:
        The variants, the original first; the shapes that the heads were found by; the first that was rewritten.

    Raises:
        InputError: the model was rewritten before, an emission is not understood, or ``head`` has none.
        ModelError: the model cannot be read or run.
        UnsupportedHeadError: no output has a head that can be lifted.
    """
    if model.is_rewritten:
        raise InputError(
            f"{model.name} is a rewritten model already, so there is no original to hold it against; "
            "name the vendor's model."
        )
    wishes = [Emit.of(emission) for emission in emissions]
    variants = [_variant(ORIGINAL, model)]
    found: list[tuple[Trace, Rewrite]] = []
    fewest: int | None = None
    for asked, wish in zip(emissions, wishes, strict=True):
        emission = asked
        if fitting and wish.topk is not None:
            if fewest is None:
                fewest = _fewest_classes(model, head, class_token)
            wish = replace(wish, topk=min(wish.topk, fewest))
            emission = asked.replace(f"topk:{Emit.of(asked).topk}", f"topk:{wish.topk}")
        rewritten = rewrite_model(model, emit=wish, head=head, class_token=class_token)
        if rewritten.trace is not None:
            found.append((rewritten.trace, rewritten))
        variants.append(_variant(emission, replace(model, proto=rewritten.model)))
    return tuple(variants), *found[0]


def _fewest_classes(model: LoadedModel, head: str | None, class_token: ClassTokenWish | None) -> int:
    heads = rewrite_model(model, emit=Emit(features=False), head=head, class_token=class_token).heads
    return min(int(head.grid_shape[1]) for head in heads)


def _variant(name: str, model: LoadedModel) -> Variant:
    return Variant(name, model, tuple(value.name for value in model.proto.graph.output))


def added_share(variants: tuple[Variant, ...], inputs: tuple[InputShape, ...]) -> dict[str, tuple[int, float | None]]:
    """For each variant its multiply-adds, and those of the original times what: 1 and the share of what was added.

    None where the original has no multiply-adds that are counted.
    """
    counts = {variant.name: count_work(variant.model.proto, variant.model.folder, inputs).macs for variant in variants}
    whole = counts[ORIGINAL]
    return {name: (count, count / whole if whole else None) for name, count in counts.items()}
