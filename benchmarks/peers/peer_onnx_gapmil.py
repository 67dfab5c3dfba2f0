"""onnx-gapmil beside plain ONNX Runtime: the untouched file and rewritten ones, each in a bare session of its own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime as ort

from benchmarks.peers.peer import ONE_CLASS, PLAIN, Peer, additivity, apart, first_line, load
from onnx_gapmil.lift.verdict import UnsupportedHeadError
from onnx_gapmil.rewriting.rewriter import rewrite_model
from onnx_gapmil.rewriting.saving import save_model
from onnx_gapmil.rewriting.verbs import rewrite

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.peers.peer import Array

#: By variant: what to emit, and the outputs to fetch beside the model's own.
EMIT = {
    "grid": ("grid", ("gapmil_grid",)),
    "topk": ("topk:5", ("gapmil_topk_classes", "gapmil_topk_grid")),
    "one class": (f"classes:{ONE_CLASS}", ("gapmil_classes_grid",)),
}


def save_rewritten(path: Path, emit: str, name: str) -> Path:
    target = path.with_name(f"{path.stem}.{name.replace(' ', '_')}.gapmil.onnx")
    save_model(rewrite_model(path, emit=emit), target)
    return target


def session(path: Path, threads: int) -> ort.InferenceSession:
    """ONNX Runtime as it comes, but for the number of threads, which rest when a run ends: others are timed next."""
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = threads
    settings.inter_op_num_threads = 1
    settings.add_session_config_entry("session.force_spinning_stop", "1")
    return ort.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])


class OnnxGapmil(Peer):
    packages = ("onnx-gapmil", "onnxruntime-gpu", "onnx")

    def variants(self, batch: int) -> tuple[str, ...]:
        return tuple(EMIT)

    def prepare(self, folder: Path, variant: str, images: Array, threads: int) -> Callable[[], Any]:
        path = folder / f"resnet50-{images.shape[-1]}.onnx"
        wanted = ["logits"]
        if variant != PLAIN:
            emit, outputs = EMIT[variant]
            wanted += outputs
            path = apart(save_rewritten, path, emit, variant)
        runner = session(path, threads)
        return lambda: runner.run(wanted, {"image": images})

    def maps(self, folder: Path, model: str) -> dict[str, Array]:
        path = folder / f"{model}.onnx"
        target = save_rewritten(path, "features,grid", "maps")
        wanted = ["gapmil_grid", "gapmil_features"]
        grid, features = session(target, 1).run(wanted, {"image": load(folder, model)["image"]})
        sizes = [path.stat().st_size, target.stat().st_size]
        return {"grid": grid, "features of onnx_gapmil": features, "bytes": np.asarray(sizes)}

    def head(self, folder: Path, model: str) -> dict[str, Any]:
        path = folder / f"{model}.onnx"
        try:
            result = rewrite(path, write=False)
        except UnsupportedHeadError as error:
            return {"answer": "refused", "detail": f"{error.refusal.code}: {first_line(error)}"}
        (head,) = result.heads
        target = path.with_name(f"{path.stem}.head.gapmil.onnx")
        save_model(result, target)
        known = load(folder, model)
        (grid,) = session(target, 1).run([head.grid], {"image": known["image"]})
        verdict = head.verdict + (", position-dependent" if head.position_dependent else "")
        return {
            "answer": "map",
            "detail": verdict,
            "shape": grid.shape,
            "additivity": additivity(grid[0], known["logits"][0]),
        }


if __name__ == "__main__":
    OnnxGapmil().serve()
