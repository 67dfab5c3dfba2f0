"""MXNet's model zoo by mx2onnx, and small Chainer nets by onnx_chainer: their files outlive them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.zoo import protocol

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

#: Gluon's classifiers: does the head pool, and that head in words.
GLUON = {
    "alexnet": (False, "flatten, three Dense"),
    "densenet121": (True, "7x7 avg pool, flatten, Dense"),
    "mobilenet0.25": (True, "avg pool, flatten, Dense"),
    "mobilenetv2_0.25": (True, "avg pool, Conv1x1, flatten"),
    "resnet18_v1": (True, "avg pool, Dense"),
    "resnet18_v2": (True, "avg pool, flatten, Dense"),
    "squeezenet1.1": (True, "Conv, relu, 13x13 avg pool, flatten"),
    "vgg11": (False, "flatten, three Dense"),
}
#: Chainer heads on two convolutions.
CHAINER = {
    "average_pooling": "average_pooling_2d over the map, reshape, Linear",
    "mean": "mean over space, Linear",
    "mean_mlp": "mean over space, Linear, relu, Linear",
    "conv_pool": "Conv1x1, average_pooling_2d over the map, reshape",
}
SIZES = {"alexnet": 224, "squeezenet1.1": 224, "densenet121": 224, "vgg11": 64}
CLASSES = 10


def cases() -> Iterable[dict[str, Any]]:
    """Gluon with a fixed and an open batch, then Chainer."""
    for exporter in ("mx2onnx, batch 1", "mx2onnx, open batch"):
        for name, (pools, head) in GLUON.items():
            yield {"exporter": exporter, "group": name, "model": name, "pools": pools, "head": head}
    for name, head in CHAINER.items():
        yield {"exporter": "onnx_chainer", "group": f"chainer {name}", "model": name, "pools": True, "head": head}


def answer(case: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Export one net."""
    if case["exporter"] == "onnx_chainer":
        return _chainer(case["model"], folder)
    return _gluon(case["model"], "open" in case["exporter"], folder)


def _gluon(name: str, open_batch: bool, folder: Path) -> dict[str, Any]:
    import mxnet as mx
    import numpy as np

    mx.random.seed(0)
    net = mx.gluon.model_zoo.vision.get_model(name, pretrained=False, classes=CLASSES)
    net.initialize(mx.init.Xavier())
    net.hybridize()
    side = SIZES.get(name, 128)
    net(mx.nd.random.normal(shape=(1, 3, side, side)))
    generator = np.random.default_rng(1)
    for key, parameter in net.collect_params().items():
        if key.endswith(("bias", "beta")):
            parameter.set_data(mx.nd.array(0.1 * generator.standard_normal(parameter.shape)))
    stem, path = folder / f"mxnet-{name}", folder / f"mxnet-{name}.onnx"
    net.export(str(stem))
    shape = ("N" if open_batch else 1, 3, side, side)
    dynamic = {"dynamic": True, "dynamic_input_shapes": [shape]} if open_batch else {}
    shapes = [(1, 3, side, side)]
    mx.onnx.export_model(f"{stem}-symbol.json", f"{stem}-0000.params", shapes, np.float32, str(path), **dynamic)
    return {"file": path.name, "input": list(shape)}


def _chainer(name: str, folder: Path) -> dict[str, Any]:
    import chainer
    import numpy as np
    import onnx_chainer
    from chainer import functions, links

    np.random.seed(0)

    class Net(chainer.Chain):
        """Two convolutions and a head."""

        def __init__(self) -> None:
            super().__init__()
            with self.init_scope():
                self.stem = links.Convolution2D(3, 16, 3, stride=4, pad=1)
                self.body = links.Convolution2D(16, 16, 3, pad=1)
                self.point = links.Convolution2D(16, CLASSES, 1)
                self.hidden = links.Linear(16, 16)
                self.dense = links.Linear(16, CLASSES)

        def forward(self, image: Any) -> Any:
            features = functions.relu(self.body(functions.relu(self.stem(image))))
            if name == "conv_pool":
                features = self.point(features)
            if name in ("average_pooling", "conv_pool"):
                pooled = functions.reshape(functions.average_pooling_2d(features, features.shape[2:]), (1, -1))
                return pooled if name == "conv_pool" else self.dense(pooled)
            pooled = functions.mean(features, axis=(2, 3))
            return self.dense(functions.relu(self.hidden(pooled)) if name == "mean_mlp" else pooled)

    path = folder / f"chainer-{name}.onnx"
    with chainer.using_config("train", False):
        onnx_chainer.export(Net(), np.random.standard_normal((1, 3, 32, 48)).astype(np.float32), filename=str(path))
    return {"file": path.name, "input": [1, 3, 32, 48]}


if __name__ == "__main__":
    protocol.main(cases, answer)
