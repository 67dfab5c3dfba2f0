"""What a head allows: a verdict, the steps that lead to it, or a refusal that says why and what to do."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from onnx_gapmil.errors import GapmilError
from onnx_gapmil.files.wording import percent

#: ``exact``: every operator is affine, a cell's value is the head's answer to that cell alone. ``conditional``: exact
#: for each image too, but a cell's value also depends on the pooled tensor.
Verdict = Literal["exact", "conditional"]

#: How a cell's value is to be read. ``contribution``: mean over cells = logits, always. ``instance``: the head
#: applied to each cell as if it were the whole image.
Readout = Literal["contribution", "instance"]

#: What an operator of the head does to the lift.
StepKind = Literal["pool", "flatten", "shape", "affine", "activation", "gate", "norm"]

#: Every refusal code: what it means for the user, and what can be done.
ADVICE: dict[str, str] = {
    "no-spatial-pool": "This output is not the average of anything over space; if the model has another output (its "
    "classifier), name that one, else no prediction grid exists for it.",
    "class-token": "The classifier reads one token, which attention has already mixed: no average over cells gives its "
    "logits. Ask the vendor for a variant that pools by average, or use attention rollout on the source model. "
    "--class-token auto lifts many of these all the same, by what each attention brought the token from each patch.",
    "learned-tokens": "The mean is over tokens that are learned or gathered, and not over places of the image: ask for "
    "a variant that averages its patches.",
    "flatten-head": "The head has its own weights for every position instead of a pool, in a way that has no rule. Ask "
    "for a variant with global average pooling.",
    "spatial-mixing-after-pool": "An operator after the pool mixes positions or images again, so cells blur.",
    "partial-pool": "The pool leaves more than one position, which are then mixed; only heads that pool the whole map "
    "decompose.",
    "unknown-operator": "No lift rule is known for this operator; CONTRIBUTING tells how to add one in a few lines. "
    "Please report it with the model's exporter.",
    "not-a-classifier": "This output is no vector of class scores (N, K), but an embedding, boxes or a map, say; name "
    "the output that is.",
    "no-image": "The model reads a table, a text or features that were made elsewhere, and no image, so there are no "
    "places in it.",
    "ensemble": "The output averages the probabilities of several members, which no one grid can give: name a member's "
    "own output, or export the members one by one.",
    "side-input": "The logits also depend on something that has no place in the image, so they are no average over "
    "its cells.",
    "random-head": "The head is random (dropout in training mode): export the model in evaluation mode.",
    "blocked-layout": "The file was saved by ONNX Runtime after layout optimization and is tied to one kind of CPU; "
    "use the model it was made from, or save it with ORT_ENABLE_EXTENDED.",
    "quantized-nonuniform": "The head computes in integers whose rounding or clipping is no pointwise linear map; use "
    "the float model, or wait for the quantized rules.",
    "quantized-too-coarse": "The head rounds to integers so coarsely that its logits are the mean of no cells; "
    "quantize the head with finer scales (its last layer in float costs little), or use the float model.",
    "different-grids": "The head joins pools of grids of different size; there is no single grid of cells.",
    "different-views": "Several views of an image, or parts or mirrored copies of it, or several images, are averaged "
    "on one grid, so that a cell has no place of its own: export the model without test-time augmentation, for one "
    "view; a model that takes several images has no one grid for them.",
    "sampled-places": "The image itself decides where the cells look (a predicted box, a sort), so they have no places "
    "that could be drawn.",
    "not-repoolable": "Its prediction grid can be had all the same (rewrite, --emit scores:...); only to make it the "
    "output's own needs one float tensor of logits that nothing else reads.",
    "head-too-deep": "The walk from the logits met no pool within a plausible number of operators.",
}

#: What can be done where a lift of the class token was asked for and found no way.
LIFT_WAS_ASKED_FOR = (
    "The classifier reads one token, in a way that --class-token as given has no rule for. Ask the vendor for a "
    "variant that pools by average, or use attention rollout on the source model."
)


@dataclass(frozen=True)
class Refusal:
    """Why an output has no prediction grid.

    Attributes:
        code: stable name of the reason, a key of `ADVICE`.
        node: the node where the walk ended, as ``name (operator)``.
        message: what was found there, one sentence.
        advice: what the user can do.
        walked: the head's operators from the logits to that node, nearest to the logits first.
    """

    code: str
    node: str
    message: str
    advice: str
    walked: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The refusal as the command line prints it."""
        return {**asdict(self), "walked": list(self.walked)}


class UnsupportedHeadError(GapmilError):
    """No output of the model has a head that can be lifted.

    Attributes:
        refusal: the first output's reason.
        refusals: every output's reason, by output name.
    """

    exit_code = 3

    def __init__(self, refusal: Refusal, refusals: dict[str, Refusal] | None = None) -> None:
        super().__init__(f"the head is refused ({refusal.code}): {refusal.message}. {refusal.advice}")
        self.refusal = refusal
        self.refusals = refusals if refusals is not None else {}

    def __reduce__(self) -> tuple[type[UnsupportedHeadError], tuple[Refusal, dict[str, Refusal]]]:
        """It can be sent from one process to another."""
        return type(self), (self.refusal, self.refusals)


class HeadRefused(Exception):  # noqa: N818 - a walk that ends is an answer, not an error; it never leaves the package
    """Raised by rules to end the walk with a `Refusal`."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


def said_verdict(verdict: Verdict, *, position_dependent: bool, class_token: str | None = None) -> str:
    """The verdict as it is said wherever a head is named, with what a reader of its cells must know.

    Args:
        verdict: the verdict.
        position_dependent: whether the head has weights of its own for each position.
        class_token: how far the class token that it reads is lifted; None where it reads none.
    """
    words = [verdict, *(["position-dependent"] if position_dependent else [])]
    return ", ".join([*words, *([f"class token ({class_token})"] if class_token is not None else [])])


@dataclass(frozen=True)
class PoolWeights:
    """How a pool weighs the positions of every image, where it does not weigh them alike (FlexPooling, a mask).

    Attributes:
        least: the smallest weight, in units of a plain mean's, which is 1 / (H * W).
        below_zero: share of the weights that are below 0.
        sums: the sum of the weights for each channel, 1 for a mean; one number where the channels share them.
        largest: the largest weight, in the same units; None in a record of an older version.
        cells: of each position, in the order of the map that is pooled, the weight in the same units, its mean over
            the channels where each has its own. It is read from the graph and in no record.
    """

    least: float
    below_zero: float
    sums: tuple[float, ...]
    largest: float | None = None
    cells: tuple[float, ...] = field(default=(), compare=False, repr=False)

    def describe(self) -> str:
        """One phrase for people."""
        low, high = min(self.sums), max(self.sums)
        total = f"{low:.3g}" if f"{low:.3g}" == f"{high:.3g}" else f"{low:.3g} to {high:.3g}"
        largest = "" if self.largest is None else f", largest {self.largest:.3g}"
        below = percent(self.below_zero, 0)
        return f"least weight {self.least:.3g} of a plain mean's{largest}, {below} below 0, sum {total}"

    def to_json(self) -> dict[str, Any]:
        """The weights as the command line prints them; the cells are in `WeightedPool`, in reading order."""
        said = {**asdict(self), "sums": list(self.sums)}
        del said["cells"]
        return said if self.largest is not None else {key: said[key] for key in said if key != "largest"}


@dataclass(frozen=True)
class LiftStep:
    """One operator of the head and what its rule did.

    Attributes:
        op: operator type, with its domain if it is not ONNX's own.
        node: the node's name in the vendor's graph ("" if it has none).
        output: the pooled tensor it makes.
        shape: that tensor's traced shape.
        kind: what the operator does to the lift.
        conditional: whether the step makes a cell's value depend on the pooled tensor.
        detail: one phrase for people.
        weights: of a pool that does not weigh all positions alike, for every image the same.
        attends: of a pool whether each image makes the weights (attention). It is read from the graph and in no record.
    """

    op: str
    node: str
    output: str
    shape: tuple[int, ...]
    kind: StepKind
    conditional: bool
    detail: str
    weights: PoolWeights | None = None
    attends: bool = field(default=False, compare=False, repr=False)

    @property
    def position_dependent(self) -> bool:
        """Whether it has weights of its own for each position."""
        return self.kind == "flatten" or self.weights is not None

    def to_json(self) -> dict[str, Any]:
        """The step as the command line prints it; ``weights`` stands there only where it has some."""
        said = {**asdict(self), "shape": list(self.shape)}
        del said["weights"], said["attends"]
        return said if self.weights is None else {**said, "weights": self.weights.to_json()}
