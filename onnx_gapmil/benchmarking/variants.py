"""The graphs that are held against each other: the original, and one rewritten graph for each emission."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import onnx

from onnx_gapmil.benchmarking.macs import count_work
from onnx_gapmil.benchmarking.sessions import timed_session
from onnx_gapmil.errors import InputError
from onnx_gapmil.graph.loading import LoadedModel, has_external_data, load_small_external_data
from onnx_gapmil.rewriting.emission.emit import Emit
from onnx_gapmil.rewriting.record import HEADS_KEY
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
        proto: the model.
        folder: where its external data lies.
        outputs: what a run asks for: the vendor's outputs, then the new ones.
    """

    name: str
    proto: onnx.ModelProto
    folder: Path | None
    outputs: tuple[str, ...]

    def serialized(self) -> tuple[bytes, Path | None]:
        """The model's bytes, and the folder of its external data if it has any; large weights stay where they are."""
        if not has_external_data(self.proto) or self.folder is None:
            return self.proto.SerializeToString(), None
        light = onnx.ModelProto()
        light.CopyFrom(self.proto)
        load_small_external_data(light, self.folder)
        return light.SerializeToString(), self.folder.resolve()

    def session(self, choice: ProviderChoice) -> Any:
        """A session of its own.

        Raises:
            ModelError: ONNX Runtime cannot load the model.
            ProviderError: the provider was asked for by name, and not one node runs on it.
        """
        data, folder = self.serialized()
        return timed_session(data, choice, what=f"The graph of {self.name!r}", external_data_folder=folder)


def build_variants(
    source: LoadedModel, proto: onnx.ModelProto, emissions: tuple[str, ...]
) -> tuple[tuple[Variant, ...], Trace, Verdict]:
    """The original and one rewritten graph for each emission.

    Args:
        source: the model as it was read.
        proto: the same, or a copy of it in another precision.
        emissions: as `rewrite --emit` spells them.

    Returns:
        The variants, the original first; the shapes that the heads were found by; the verdict.

    Raises:
        InputError: the model was rewritten before, or an emission is not understood.
        ModelError: the model cannot be read or run.
        UnsupportedHeadError: no output has a head that can be lifted.
    """
    if any(entry.key == HEADS_KEY for entry in proto.metadata_props):
        raise InputError(
            f"{source.name} is a rewritten model already, so there is no original to hold it against; "
            "name the vendor's model."
        )
    wishes = [(emission, Emit.of(emission)) for emission in emissions]
    model = source.path if proto is source.proto and source.path is not None else proto
    variants = [Variant(ORIGINAL, proto, source.folder, _outputs(proto))]
    found: list[tuple[Trace, Verdict]] = []
    for emission, wish in wishes:
        rewritten = rewrite_model(model, emit=wish)
        if rewritten.trace is not None:
            found.append((rewritten.trace, rewritten.verdict))
        variants.append(Variant(emission, rewritten.model, source.folder, _outputs(rewritten.model)))
    return tuple(variants), *found[0]


def _outputs(proto: onnx.ModelProto) -> tuple[str, ...]:
    return tuple(value.name for value in proto.graph.output)


def added_share(variants: tuple[Variant, ...], inputs: tuple[InputShape, ...]) -> dict[str, tuple[int, float | None]]:
    """For each variant its multiply-adds, and those of the original times what: 1 and the share of what was added.

    None where the original has no multiply-adds that are counted.
    """
    counts = {variant.name: count_work(variant.proto, variant.folder, inputs).macs for variant in variants}
    whole = counts[ORIGINAL]
    return {name: (count, count / whole if whole else None) for name, count in counts.items()}
