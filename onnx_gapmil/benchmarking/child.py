"""The fresh process of `memory`: reads an order as JSON on stdin, runs the graph, prints its peak memory as JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnx_gapmil.errors import GapmilError

if TYPE_CHECKING:
    from collections.abc import Mapping


def answer(order: Mapping[str, Any]) -> dict[str, int | None]:
    """Make the session, run it, and read the peaks.

    Args:
        order: ``path``, ``folder`` (of external data, or None), ``provider``, ``outputs``, ``inputs`` as
            [name, shape, type], ``runs``.

    Raises:
        ModelError: the graph cannot be loaded or run.
        ProviderError: the provider is not really used.
    """
    from onnx_gapmil.benchmarking.memory import DeviceMemory, peak_resident
    from onnx_gapmil.benchmarking.runs import ON_DEVICE, BoundRun
    from onnx_gapmil.benchmarking.sessions import timed_session
    from onnx_gapmil.ort.providers import choose_providers

    choice = choose_providers(order["provider"])
    device = DeviceMemory() if choice.used in ON_DEVICE else None
    before = device.free() if device is not None else 0
    path = Path(order["path"])
    folder = Path(order["folder"]) if order["folder"] is not None else None
    # A model with external data goes by its bytes, so that its data is found in its own folder.
    session = timed_session(
        path if folder is None else path.read_bytes(), choice, what="The graph", external_data_folder=folder
    )
    run = BoundRun(session, _inputs(order["inputs"]), order["outputs"], choice.used, "The run for peak memory")
    for _ in range(order["runs"]):
        run()
    return {
        "host_bytes": peak_resident(),
        "device_bytes": before - device.free() if device is not None else None,
    }


def _inputs(entries: list[Any]) -> list[Any]:
    import ml_dtypes
    import numpy as np

    from onnx_gapmil.graph.inputs import InputShape

    kinds = {"bfloat16": np.dtype(ml_dtypes.bfloat16)}
    return [
        InputShape(name, tuple(shape), tuple(shape), kinds.get(kind) or np.dtype(kind)) for name, shape, kind in entries
    ]


def main() -> int:
    """Answer one order."""
    try:
        print(json.dumps(answer(json.load(sys.stdin))))
    except GapmilError as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
