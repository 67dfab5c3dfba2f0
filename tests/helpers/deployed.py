"""Models as they are deployed, in plain ONNX Runtime: what it makes of them, and int8 networks to try it on."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from tests.helpers.support import rng, text_model

LEVELS = ("all", "extended")
MODES = ("session.x64quantprecision", "session.qdqisint8allowed")


def deployed(model: onnx.ModelProto, level: str = "all", *, mode: str = "", save_to: Path | None = None) -> Any:
    """A session at ONNX Runtime's level ``all``, ``extended`` or ``none``."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    levels = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = {
        "all": levels.ORT_ENABLE_ALL,
        "extended": levels.ORT_ENABLE_EXTENDED,
        "none": levels.ORT_DISABLE_ALL,
    }[level]
    if mode:
        options.add_session_config_entry(mode, "1")
    if save_to is not None:
        options.optimized_model_filepath = str(save_to)
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def made_of(model: onnx.ModelProto, outputs: list[str], folder: Path, level: str = "extended") -> Counter[str]:
    """The operators that ONNX Runtime computes some outputs by, after its optimization."""
    deployed(model, level, save_to=folder / "made.onnx")
    graph = onnx.load(folder / "made.onnx").graph
    makers = {name: node for node in graph.node for name in node.output}
    pending, found = list(outputs), dict[int, str]()
    while pending:
        node = makers.get(pending.pop())
        if node is not None and id(node) not in found:
            found[id(node)] = f"{node.domain}:{node.op_type}"
            pending += node.input
    return Counter(found.values())


def assert_same_as_deployed(original: onnx.ModelProto, rewritten: onnx.ModelProto, folder: Path) -> None:
    """Equal outputs at every level, on ordinary and large inputs; by the same operators of the runtime's."""
    names = [value.name for value in original.graph.output]
    for level in LEVELS:
        before, after = deployed(original, level), deployed(rewritten, level)
        shape = [dim if isinstance(dim, int) else 2 for dim in before.get_inputs()[0].shape]
        kind = np.float16 if "float16" in before.get_inputs()[0].type else np.float32
        for scale in (1.0, 3.0, 100.0):
            feeds = {before.get_inputs()[0].name: (rng(7).standard_normal(shape) * scale).astype(kind)}
            for one, two in zip(before.run(names, feeds), after.run(names, feeds), strict=True):
                np.testing.assert_array_equal(one, two)
        assert made_of(original, names, folder, level) == made_of(rewritten, names, folder, level)


def quantized(kind: type, *, residual: bool = False, tail: str = "", size: int = 8) -> onnx.ModelProto:
    """Two convolutions, a pool and a dense layer as ONNX Runtime's static quantizer writes them, with int8 weights.

    Args:
        kind: of the activations, ``numpy.uint8`` or ``numpy.int8``.
        residual: the second convolution is added to what it reads.
        tail: statements that make ``y`` of the logits ``l``; they are ``y`` if empty.
        size: rows and columns of the image.
    """
    body, init = [], dict[str, np.ndarray]()
    zero = np.array(128 if kind is np.uint8 else 0, kind)

    def pair(data: str, name: str, scale: float) -> str:
        init[f"s_{name}"], init[f"z_{name}"] = np.array(scale, np.float32), zero
        body.append(f"q_{name} = QuantizeLinear({data}, s_{name}, z_{name})")
        body.append(f"{name} = DequantizeLinear(q_{name}, s_{name}, z_{name})")
        return name

    def weight(name: str, *shape: int) -> str:
        init[f"i_{name}"] = rng(len(init)).integers(-127, 128, shape).astype(np.int8)
        init[f"s_{name}"], init[f"z_{name}"] = np.array(0.01, np.float32), np.array(0, np.int8)
        body.append(f"{name} = DequantizeLinear(i_{name}, s_{name}, z_{name})")
        return name

    data = pair("x", "x1", 0.03)
    body.append(f"c1 = Conv<pads=[1,1,1,1]>({data}, {weight('w1', 8, 3, 3, 3)})")
    data = pair("c1", "m1", 0.1)
    body.append(f"c2 = Conv<pads=[1,1,1,1]>({data}, {weight('w2', 8, 8, 3, 3)})")
    data = pair("c2", "m2", 0.2)
    if residual:
        body.append("a = Add(m2, m1)")
        data = pair("a", "m3", 0.2)
    body.append(f"p = GlobalAveragePool({data})")
    body.append(f"f = Flatten({pair('p', 'p1', 0.05)})")
    body.append(f"g = Gemm<transB=1>({pair('f', 'f1', 0.05)}, {weight('w3', 5, 8)})")
    last = pair("g", "l" if tail else "y", 0.05)
    assert last
    body.append(tail)
    return text_model("\n".join(body), x=f"float[N,3,{size},{size}] x", y="float[N,5] y", init=init)
