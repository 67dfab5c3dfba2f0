"""What a run has measured, and the medians and quartiles of it."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Any

#: All classes of Grad-CAM are this many calls of the same cost; what is timed is one.
CLASSES = 1000
#: Multiplications of ResNet-50 (arXiv 1512.03385, as torchvision counts them), and of its head at each of 7x7 cells.
TRUNK_MACS, HEAD_MACS = 4.089e9, 49 * 2048 * 1000
HEAD_SHARE = HEAD_MACS / TRUNK_MACS
EXTRAPOLATED = "Grad-CAM, all classes"


@dataclass(frozen=True)
class Variant:
    """A way of asking a tool for maps, in the order of the tables.

    Attributes:
        tool: the tool's key.
        key: as its script calls it.
        title: for people.
        classes: that it gives maps of: ``one``, ``5``, ``all`` or ``none``.
        gives: what comes back, for people.
    """

    tool: str
    key: str
    title: str
    classes: str
    gives: str


VARIANTS = (
    Variant("onnx_gapmil", "grid", "full grid", "all", "(N, 1000, H, W), logits of each cell"),
    Variant("onnx_gapmil", "topk", "`topk:5`", "5", "(N, 5, H, W), the image's five best classes"),
    Variant("onnx_gapmil", "one class", "`classes:`", "one", "(N, 1, H, W), one class"),
    Variant("openvino_xai", "ReciproCAM", "ReciproCAM", "all", "(1, 1000, H, W), logits / HW, unstretched"),
    Variant("torch_cam", "CAM, one class", "CAM", "one", "(N, H, W), class evidence without the bias"),
    Variant("torch_cam", "CAM, all classes", "CAM, 1000 calls", "all", "the same for each class"),
    Variant("grad_cam", "Grad-CAM, one class", "Grad-CAM", "one", "(N, 224, 224), each map from 0 to 1"),
    Variant("grad_cam", EXTRAPOLATED, "Grad-CAM, 1000 calls", "all", "the same for each class"),
    Variant("grad_cam", "Eigen-CAM, no class", "Eigen-CAM", "none", "(N, 224, 224), one map for all classes"),
)


@dataclass(frozen=True)
class Summary:
    """Of one variant in one case: medians over rounds, and the quartiles of its ratio to plain inference."""

    plain: float
    with_maps: float
    ratio: float
    low: float
    high: float
    rounds: int


def summary(case: dict[str, Any], variant: Variant) -> Summary | None:
    """None where the tool cannot do the case."""
    found = case["peers"][variant.tool]
    times = CLASSES if variant.key == EXTRAPOLATED else 1
    key = "Grad-CAM, one class" if variant.key == EXTRAPOLATED else variant.key
    if key not in found["ratio"]:
        return None
    low, ratio, high = quartiles(found["ratio"][key])
    return Summary(
        plain=statistics.median(found["plain"]),
        with_maps=times * statistics.median(found["with_maps"][key]),
        ratio=times * ratio,
        low=times * low,
        high=times * high,
        rounds=len(found["ratio"][key]),
    )


def quartiles(values: list[float]) -> tuple[float, float, float]:
    """Lower quartile, median, upper quartile."""
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def find_case(results: dict[str, Any], *, threads: int, size: int, batch: int) -> dict[str, Any] | None:
    """The case, if it was run."""
    wanted = (threads, size, batch)
    cases = results["cases"]
    return next((case for case in cases if (case["threads"], case["size"], case["batch"]) == wanted), None)


def ratio_text(ratio: float) -> str:
    """Three decimals where they tell something, thousands where they do not."""
    if ratio < 2:
        return f"{ratio:.3f}"
    return f"{ratio:.2f}" if ratio < 100 else f"{round(ratio, -1):,.0f}"
