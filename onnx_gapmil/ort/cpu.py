"""Sessions on the CPU without a choice of provider, as looking at a graph needs them, and what all sessions share."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING

import onnx

from onnx_gapmil.errors import GapmilError
from onnx_gapmil.ort.bounded import bounded_session
from onnx_gapmil.ort.errors import load_error, run_error
from onnx_gapmil.ort.quiet import onnxruntime_module

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    import numpy as np

#: Threads that this process was told to use; None stands for all its cores.
_told: int | None = None
EXTERNAL_FOLDER = "session.model_external_initializers_file_folder_path"


def cpu_session(
    proto: onnx.ModelProto,
    folder: Path | None,
    *,
    optimize: bool = False,
    weights: Mapping[str, np.ndarray] | None = None,
    spinning: bool = True,
) -> Any:
    """A quiet CPU session on a model in memory.

    Args:
        proto: the model, below 2 GiB; its external data is read from ``folder``.
        folder: where the external data lies; None if there is none.
        optimize: False keeps every node and tensor as the file spells it.
        weights: initializers that the model declares as external and that are used where they lie in memory; they
            must outlive the session.
        spinning: let idle threads wait busily.

    Raises:
        ModelError: ONNX Runtime cannot load the model.
    """
    onnxruntime = onnxruntime_module()
    options = session_options(optimize=optimize)
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spinning)))
    if folder is not None:
        options.add_session_config_entry(EXTERNAL_FOLDER, str(folder.resolve()))
    if weights:
        values = [onnxruntime.OrtValue.ortvalue_from_numpy(array) for array in weights.values()]
        options.add_external_initializers(list(weights), values)
    try:
        return bounded_session(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except GapmilError:
        raise
    except Exception as error:
        raise load_error(error, "The model") from error


def evaluate(
    nodes: Sequence[onnx.NodeProto],
    feeds: Mapping[str, np.ndarray],
    outputs: Sequence[str],
    opsets: Sequence[onnx.OperatorSetIdProto],
) -> list[np.ndarray]:
    """Run a few nodes alone, by the runtime's own semantics.

    Args:
        nodes: the nodes in order; every tensor they read is made by an earlier one or fed.
        feeds: arrays by tensor name.
        outputs: names to return.
        opsets: the operator sets that the nodes are spelled in.

    Raises:
        ModelError: ONNX Runtime cannot run them.
    """
    graph = onnx.helper.make_graph(
        nodes,
        "evaluate",
        [
            onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
            for name, array in feeds.items()
        ],
        [onnx.ValueInfoProto(name=name) for name in outputs],
    )
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8)
    session = cpu_session(model, None)
    try:
        results: list[np.ndarray] = session.run(list(outputs), dict(feeds))
    except GapmilError:
        raise
    except Exception as error:
        raise run_error(error, f"Running {nodes[-1].op_type} alone") from error
    return results


def session_options(*, optimize: bool, threads: int | None = None) -> Any:
    """The options that every session has: quiet, sized to the cores one may use.

    Args:
        optimize: let ONNX Runtime fuse and fold the graph; False keeps every node as the file spells it.
        threads: threads within an operator; by default all cores that this process may use.
    """
    onnxruntime = onnxruntime_module()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what goes wrong arrives as an exception
    options.intra_op_num_threads = threads or thread_count()
    level = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimize else level.ORT_DISABLE_ALL
    return options


def cpu_name() -> str:
    """The processor's name as the system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.lower().startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()


def use_threads(count: int | None) -> None:
    """Say how many threads this process may use, where it shares its cores with others; None stands for all cores."""
    global _told
    _told = count


def thread_count() -> int:
    """Cores that this process may use."""
    if _told is not None:
        return _told
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
