"""Prove that an execution provider runs a model, instead of believing the list of providers."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from onnx_gapmil.ort.errors import readable
from onnx_gapmil.ort.quiet import native_output_discarded, onnxruntime_module

_IN_CHANNELS, _KERNEL = 3, 3


def probe_model() -> onnx.ModelProto:
    """Build a convolution of ones: for (1, 3, 8, 8) float32 ones it gives (1, 4, 6, 6) float32 of 27.

    A convolution, because on CUDA it is what needs cuDNN.
    """
    weights = np.ones((4, _IN_CHANNELS, _KERNEL, _KERNEL), np.float32)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"])],
        "probe",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, _IN_CHANNELS, 8, 8))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 4, 6, 6))],
        [numpy_helper.from_array(weights, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def provider_failure(name: str, options: Mapping[str, str]) -> str | None:
    """Run the probe model on the provider `name` alone; None if it ran with the right numbers, else why not.

    The CPU provider may not help out: with `session.disable_cpu_ep_fallback` a node left over is an error.
    """
    ort = onnxruntime_module()
    settings = ort.SessionOptions()
    settings.log_severity_level = 4
    if name != "CPUExecutionProvider":
        settings.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    image = np.ones((1, _IN_CHANNELS, 8, 8), np.float32)
    try:
        with native_output_discarded():
            session = ort.InferenceSession(
                probe_model().SerializeToString(),
                settings,
                providers=[(name, dict(options))],
                enable_fallback=0,
            )
            (result,) = session.run(None, {"x": image})
    except Exception as error:  # noqa: BLE001  (each provider has exceptions of its own; all mean "not usable")
        return readable(error)
    if not np.allclose(result, _IN_CHANNELS * _KERNEL**2):
        return "a trial convolution gave wrong numbers"
    return None
