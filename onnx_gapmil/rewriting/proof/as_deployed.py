"""The proof as deployed: the vendor's outputs are what they were under the optimization that people run files with.

Original and rewritten model run on the CPU at ONNX Runtime's default level (``all``) and at ``extended``, on the same
inputs of all sizes of value, and every output of the vendor's must be equal bit for bit. What is float32 through and
through is run on one image: no kernel of it saturates, and another fusion shows on any. What computes in integers or
half precision is run on all; there also the *graph* that the runtime makes is compared, since a fusion that was lost
moves nothing on a processor whose integer kernels do not saturate, and much on another.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from onnx_gapmil.errors import ModelError
from onnx_gapmil.files.wording import count
from onnx_gapmil.graph.light import light_copy
from onnx_gapmil.graph.loading import has_external_data, load_small_external_data
from onnx_gapmil.lift.quantization import QUANTIZING
from onnx_gapmil.ort.deployed import INTEGER_MODES, Level, deployed_session, optimized_graph
from onnx_gapmil.ort.errors import explain
from onnx_gapmil.rewriting.proof.checks import Check, Figure
from onnx_gapmil.rewriting.proof.comparison import difference
from onnx_gapmil.rewriting.proof.graph_digest import output_digests
from onnx_gapmil.rewriting.proof.inputs import proof_inputs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from onnx_gapmil.graph.loading import LoadedModel
    from onnx_gapmil.rewriting.attachment.rungs import Attachment

LEVELS: tuple[Level, ...] = ("all", "extended")
#: Serialized models above this are not written once more to see what the runtime makes of them.
_MOST_BYTES = 1_000_000_000
_WIDE = frozenset(
    {
        onnx.TensorProto.BOOL, onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT, onnx.TensorProto.INT32,
        onnx.TensorProto.INT64, onnx.TensorProto.STRING,
    }
)  # fmt: skip

Feeds = dict[str, np.ndarray]


@dataclass(frozen=True)
class Deployed:
    """What a rewritten model does to the vendor's outputs as deployed.

    Attributes:
        attachment: how its new nodes hang on the vendor's graph.
        moved: by output and level, the largest difference relative to the output's largest value.
        inputs: how many inputs were run at each level.
        same_graph: whether the runtime makes the same of what the vendor's outputs are computed by, at ``extended``;
            None where that was not looked at.
        refused: modes in which the original loads and the rewritten model does not, with the reason.
        kernels: how far the vendor's own outputs, at the default level, are from themselves without optimization:
            what this processor's integer kernels do; None where nothing is quantized.
        skipped: why nothing was run.
    """

    attachment: Attachment
    moved: Mapping[str, Mapping[Level, float]] = field(default_factory=dict)
    inputs: int = 0
    same_graph: bool | None = None
    refused: tuple[str, ...] = ()
    kernels: float | None = None
    skipped: str = ""

    @property
    def equal(self) -> bool:
        """Whether every output is equal bit for bit, and the model loads wherever the original does."""
        return not self.refused and all(gap == 0 for levels in self.moved.values() for gap in levels.values())

    @property
    def settled(self) -> bool:
        """Whether nothing is left to be done: equal, and by the same graph where that was looked at."""
        return bool(self.skipped) or (self.equal and self.same_graph is not False)

    def check(self) -> Check:
        """The proof, by the vendor's outputs; a difference is said, and stops nothing."""
        figures = {output: self._figure(output, levels) for output, levels in self.moved.items()}
        if self.skipped or not figures:
            figures = {"": Figure(skipped=self.skipped or "no input could be run")}
        return Check("as_deployed", figures, binding=False)

    def _figure(self, output: str, levels: Mapping[Level, float]) -> Figure:
        worst = max(levels.values(), default=0.0)
        failures = [f"the rewritten model does not load {mode}." for mode in self.refused]
        if worst > 0:
            where = ", ".join(f"{gap:.2g} at '{level}'" for level, gap in levels.items() if gap > 0)
            failures.insert(
                0, f"output '{output}' moves by {where} of its largest value under ONNX Runtime's optimizer."
            )
        return Figure(worst, 0.0, failures=tuple(failures), detail=self._detail(), facts=self._facts(levels))

    def _detail(self) -> str:
        words = f"{' and '.join(LEVELS)} optimization, {count(self.inputs, 'input')}"
        if self.same_graph is False:
            words += "; by another graph of the runtime's, so that another processor may answer otherwise"
        if self.attachment == "named":
            words += "; the logits are the vendor's own output"
        elif self.attachment == "shadow":
            words += "; the int8 part that makes the map is repeated"
        if self.kernels:
            words += (
                f"; this processor's integer kernels move the vendor's own outputs by {self.kernels:.2g} against those "
                "that the file spells"
            )
        return words

    def _facts(self, levels: Mapping[Level, float]) -> dict[str, Any]:
        return {
            "attachment": self.attachment,
            "levels": dict(levels),
            "same_graph": self.same_graph,
            "kernels": self.kernels,
        }


class DeploymentProof:
    """Compares rewritten forms of one model with it; the original is run once."""

    def __init__(self, original: LoadedModel, *, most: bool = True) -> None:
        """Prepare.

        Args:
            original: the vendor's model.
            most: run inputs of all sizes of value whatever the model computes in.
        """
        self.is_plain = computes_in_float(original.proto)
        self._original = original
        self._names = [value.name for value in original.proto.graph.output]
        self._all = most or not self.is_plain
        self._feeds: list[Feeds] = []
        self._expected: dict[Level, list[list[Any]]] = {}
        self._digests: dict[Level, list[str]] = {}
        self._kernels: float | None = None
        self._failure = ""
        self._held: dict[str, np.ndarray] = {}

    def compare(self, rewritten: LoadedModel, attachment: Attachment) -> Deployed:
        """Run a rewritten form at each level.

        Args:
            rewritten: the model; what lies beside the original lies beside it.
            attachment: how its new nodes hang on the vendor's graph.
        """
        if not self._expected and not self._failure:
            self._run_original()
        if self._failure:
            return Deployed(attachment, skipped=self._failure)
        moved: dict[str, dict[Level, float]] = {name: {} for name in self._names}
        same: list[bool] = []
        refused = self._refusing(rewritten)
        for level, expected in self._expected.items():
            try:
                session, digests = self._session(rewritten, level)
                for feeds, before in zip(self._feeds, expected, strict=True):
                    after = session.run(self._names, feeds)
                    for name, one, two in zip(self._names, before, after, strict=True):
                        moved[name][level] = max(moved[name].get(level, 0.0), difference(one, two))
            except Exception as error:  # noqa: BLE001 - ONNX Runtime's errors share no base of their own
                refused.append(f"or run at '{level}': {explain(error)}")
                continue
            if digests:
                same.append(digests == self._digests[level])
        return Deployed(attachment, moved, len(self._feeds), all(same) if same else None, tuple(refused), self._kernels)

    def _run_original(self) -> None:
        for level in LEVELS:
            try:
                session, digests = self._session(self._original, level)
            except ModelError as error:
                self._failure = f"the original does not load at '{level}': {error}".rstrip(".")
                return
            if self._feeds:
                self._expected[level] = [session.run(self._names, feeds) for feeds in self._feeds]
            else:
                known = self._runnable(session)
                if not known:
                    self._failure = "the original runs at none of the inputs that were tried"
                    return
                self._feeds = [feeds for feeds, _ in known]
                self._expected[level] = [found for _, found in known]
            self._digests[level] = digests
        if not self.is_plain and _quantizes(self._original.proto):
            plain = deployed_session(*self._original.session_source(), "none")
            gaps = [
                difference(one, two)
                for feeds, found in zip(self._feeds, self._expected["all"], strict=True)
                for one, two in zip(plain.run(self._names, feeds), found, strict=True)
            ]
            self._kernels = max(gaps)

    def _session(self, loaded: LoadedModel, level: Level) -> tuple[Any, list[str]]:
        """A session, and what the vendor's outputs are made by in it where that is looked at."""
        if self.is_plain:
            loaded.require_weights()
            light, self._held = light_copy(loaded.proto)  # which must outlive the session
            load_small_external_data(light, loaded.folder)
            beside = loaded.folder if has_external_data(loaded.proto) else None
            return deployed_session(light.SerializeToString(), beside, level, weights=self._held), []
        data, folder = loaded.session_source()
        # The layouts of one kind of CPU, which "all" adds, are compared by numbers alone.
        if level != "extended" or loaded.size > _MOST_BYTES or has_external_data(loaded.proto):
            return deployed_session(data, folder, level), []
        session, made = optimized_graph(data, folder, level)
        return session, output_digests(made, self._names)

    def _runnable(self, session: Any) -> list[tuple[Feeds, list[Any]]]:
        """The inputs that the original takes, with its answers; of a plain model one image, three times as large."""
        kept: list[tuple[Feeds, list[Any]]] = []
        for _, feeds, spare in proof_inputs(self._original, ()):
            if kept and (spare or not self._all):
                break
            own = feeds if self._all else self._one(feeds)
            try:
                kept.append((own, session.run(self._names, own)))
            except Exception:  # noqa: BLE001, S112 - a size that the vendor's own graph does not take
                continue
        return kept

    def _one(self, feeds: Feeds) -> Feeds:
        """One image of a batch that is open."""
        batches = {value.name: value.type.tensor_type.shape.dim for value in self._original.proto.graph.input}
        fixed = any(dims and dims[0].dim_value > 0 for name, dims in batches.items() if name in feeds)
        return feeds if fixed else {name: array[1:2] if array.ndim else array for name, array in feeds.items()}

    def _refusing(self, rewritten: LoadedModel) -> list[str]:
        """Session modes for integers in which the original loads and the rewritten model does not."""
        if not _quantizes(self._original.proto):
            return []
        found = []
        for mode in INTEGER_MODES:
            try:
                deployed_session(*rewritten.session_source(), "all", config={mode: "1"})
            except ModelError as error:
                if self._loads(mode):
                    found.append(f"under {mode}=1, as the original does: {error}".rstrip("."))
        return found

    def _loads(self, mode: str) -> bool:
        try:
            deployed_session(*self._original.session_source(), "all", config={mode: "1"})
        except ModelError:
            return False
        return True


def _quantizes(proto: onnx.ModelProto) -> bool:
    return any(node.op_type in QUANTIZING | {"DequantizeLinear"} for node in _all_nodes(proto))


def computes_in_float(proto: onnx.ModelProto) -> bool:
    """Whether a model computes in float32 or wider alone: no half precision, nothing quantized."""
    half = {onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16}
    casts = (
        entry.i in half
        for node in _all_nodes(proto)
        if node.op_type == "Cast"
        for entry in node.attribute
        if entry.name == "to"
    )
    inputs = (value.type.tensor_type.elem_type in half for value in proto.graph.input)
    wide = all(tensor.data_type in _WIDE for tensor in proto.graph.initializer)
    return wide and not _quantizes(proto) and not any(casts) and not any(inputs)


def _all_nodes(proto: onnx.ModelProto) -> Sequence[onnx.NodeProto]:
    return [*proto.graph.node, *(node for function in proto.functions for node in function.node)]
