"""CPU sessions as people deploy them: ONNX Runtime's own optimization levels and session modes, and what they make."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import onnx

from onnx_gapmil.errors import GapmilError
from onnx_gapmil.ort.bounded import bounded_session
from onnx_gapmil.ort.cpu import EXTERNAL_FOLDER, session_options
from onnx_gapmil.ort.errors import load_error
from onnx_gapmil.ort.quiet import onnxruntime_module

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

#: ``all`` is ONNX Runtime's default; ``extended`` leaves out the layouts of one kind of CPU.
Level = Literal["all", "extended", "none"]
#: Session modes for 8-bit integers: weights as uint8, so that kernels of old x86 do not saturate; int8 as it is.
PRECISE = {"session.x64quantprecision": "1"}
INTEGER_MODES = (*PRECISE, "session.qdqisint8allowed")


def deployed_session(
    model: bytes,
    folder: Path | None,
    level: Level,
    *,
    config: Mapping[str, str] | None = None,
    save_to: str = "",
    weights: Mapping[str, np.ndarray] | None = None,
) -> Any:
    """A quiet CPU session at an optimization level.

    Args:
        model: a serialized model.
        folder: where its external data lies; None if there is none.
        level: how far ONNX Runtime may fuse, fold and lay out.
        config: session configuration entries, by key.
        save_to: where ONNX Runtime writes the graph that it made; "" for nowhere.
        weights: initializers that the model declares as external and that are used where they lie in memory;
            they must outlive the session.

    Raises:
        ModelError: ONNX Runtime cannot load the model so.
    """
    runtime = onnxruntime_module()
    options = session_options(optimize=True)
    levels = runtime.GraphOptimizationLevel
    options.graph_optimization_level = {
        "all": levels.ORT_ENABLE_ALL,
        "extended": levels.ORT_ENABLE_EXTENDED,
        "none": levels.ORT_DISABLE_ALL,
    }[level]
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    for key, value in (config or {}).items():
        options.add_session_config_entry(key, value)
    if folder is not None:
        options.add_session_config_entry(EXTERNAL_FOLDER, str(folder.resolve()))
    if save_to:
        options.optimized_model_filepath = save_to
    values = [runtime.OrtValue.ortvalue_from_numpy(array) for array in (weights or {}).values()]
    if weights:
        options.add_external_initializers(list(weights), values)
    try:
        return bounded_session(model, options, providers=["CPUExecutionProvider"])
    except GapmilError:
        raise
    except Exception as error:
        raise load_error(error, "The model") from error


def optimized_graph(model: bytes, folder: Path | None, level: Level) -> tuple[Any, onnx.ModelProto]:
    """A session, and the graph that ONNX Runtime made of the model for it.

    Args:
        model: a serialized model, below 1 GB.
        folder: where its external data lies; None if there is none.
        level: as `deployed_session` takes it.

    Raises:
        ModelError: ONNX Runtime cannot load the model so.
    """
    with tempfile.TemporaryDirectory() as place:
        target = Path(place) / "optimized.onnx"
        session = deployed_session(model, folder, level, save_to=str(target))
        return session, onnx.ModelProto.FromString(target.read_bytes())
