"""OpenVINO XAI's ReciproCAM beside plain OpenVINO: float32, latency mode, static shapes, as `insert_xai` wants them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import openvino as ov
import openvino_xai as xai
from openvino_xai.common.parameters import Method, Task
from openvino_xai.common.utils import SALIENCY_MAP_OUTPUT_NAME

from benchmarks.peers.peer import PLAIN, CannotError, Peer, additivity, apart, first_line, load

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from benchmarks.peers.peer import Array

CORE = ov.Core()


def read(path: Path, shape: tuple[int, ...]) -> ov.Model:
    model = CORE.read_model(path)
    model.reshape(list(shape))
    return model


def with_maps(model: ov.Model, method: Method | None) -> ov.Model:
    """The XAI branch with raw maps: by default each class's map is stretched to 0..255, and no two share a scale."""
    return xai.insert_xai(model, task=Task.CLASSIFICATION, explain_method=method, embed_scaling=False)


def save_with_maps(path: Path, shape: tuple[int, ...]) -> Path:
    target = path.with_suffix(".reciprocam.xml")
    ov.save_model(with_maps(read(path, shape), Method.RECIPROCAM), target, compress_to_fp16=False)
    return target


def compiled(model: ov.Model, threads: int) -> ov.CompiledModel:
    """In float32: where the CPU has bfloat16, OpenVINO would use that, and its neighbours here do not."""
    options = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    return CORE.compile_model(model, "CPU", options)


def weight_bytes(model: ov.Model) -> int:
    return sum(node.get_byte_size() for node in model.get_ops() if node.get_type_name() == "Constant")


class OpenVinoXai(Peer):
    packages = ("openvino", "openvino_xai")

    def variants(self, batch: int) -> tuple[str, ...]:
        return ("ReciproCAM",)

    def prepare(self, folder: Path, variant: str, images: Array, threads: int) -> Callable[[], Any]:
        path = folder / f"resnet50-{images.shape[-1]}.onnx"
        if variant != PLAIN:
            path = apart(save_with_maps, path, images[:1].shape)
        model = read(path, images[:1].shape)
        try:
            model.reshape(list(images.shape))
        except RuntimeError as error:
            raise CannotError(f"its mask is made for a batch of one ({first_line(error)})") from error
        request = compiled(model, threads).create_infer_request()
        return lambda: request.infer({0: images}, share_inputs=True)

    def maps(self, folder: Path, model: str) -> dict[str, Array]:
        images = load(folder, model)["image"]
        plain = read(folder / f"{model}.onnx", images[:1].shape)
        more = with_maps(plain, Method.RECIPROCAM)
        runner = compiled(more, 1)
        maps = [runner({0: image[None]})[SALIENCY_MAP_OUTPUT_NAME] for image in images]
        return {"reciprocam": np.concatenate(maps), "bytes": np.asarray([weight_bytes(plain), weight_bytes(more)])}

    def head(self, folder: Path, model: str) -> dict[str, Any]:
        """First a file exported for one image, which it takes best; then one with an open batch."""
        known, failures = load(folder, model), []
        for kind in (".batch1", ""):
            plain = CORE.read_model(folder / f"{model}{kind}.onnx")
            try:
                runner = compiled(with_maps(plain, None), 1)
                maps = runner({0: known["image"]})[SALIENCY_MAP_OUTPUT_NAME]
            except Exception as error:  # noqa: BLE001 - the table says what it was
                failures.append(first_line(error))
                continue
            cells = maps.shape[-1] * maps.shape[-2]
            zero = known["zero"][0][:, None, None]
            summed = additivity((maps[0] - zero) * cells + zero, known["logits"][0])
            return {"answer": "map", "detail": "method left to itself", "shape": maps.shape, "additivity": summed}
        return {"answer": "failed", "detail": "; ".join(failures)}


if __name__ == "__main__":
    OpenVinoXai().serve()
