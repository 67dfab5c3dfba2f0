"""Classifiers with many weights or much work, with random weights: VGG-19 and a vision transformer of any size.

VGG-19 (arXiv 1409.1556) ends in three dense layers on its flattened map; the transformer (arXiv 2010.11929) takes the
mean of its tokens, as the ones without a class token do.
"""

from __future__ import annotations

import onnx

from benchmarks.rewriting_cost import Writer

_VGG19 = ((2, 64), (2, 128), (4, 256), (4, 512), (4, 512))
_PATCH, _SIDE = 16, 224


def vgg19() -> onnx.ModelProto:
    """Image (N, 3, 224, 224) float32 to logits (N, 1000): 143.7 million weights, 19.6 billion multiply-adds."""
    writer = Writer()
    data, channels = "image", 3
    for blocks, width in _VGG19:
        for _ in range(blocks):
            data = writer.add("Relu", [writer.conv(data, channels, width, 3)])
            channels = width
        data = writer.add("MaxPool", [data], kernel_shape=[2, 2], strides=[2, 2])
    data, channels = writer.add("Flatten", [data], axis=1), channels * 7 * 7
    for number in range(2):
        weights = [writer.weight(f"fc{number}.weight", 4096, channels), writer.weight(f"fc{number}.bias", 4096)]
        data, channels = writer.add("Relu", [writer.add("Gemm", [data, *weights], transB=1)]), 4096
    return writer.classifier(data, channels, "vgg19")


def vit(width: int, layers: int, heads: int) -> onnx.ModelProto:
    """Image (N, 3, 224, 224) float32, in patches of 16, to logits (N, 1000).

    Args:
        width: of the tokens: 768 for ViT-B, 1024 for ViT-L.
        layers: 12, 24.
        heads: of each attention: 12, 16.
    """
    writer = Writer()
    tokens = (_SIDE // _PATCH) ** 2
    kernel = [writer.weight("patch.weight", width, 3, _PATCH, _PATCH), writer.weight("patch.bias", width)]
    data = writer.add("Conv", ["image", *kernel], kernel_shape=[_PATCH] * 2, strides=[_PATCH] * 2)
    data = writer.add("Reshape", [data, writer.ints("flat", 0, width, tokens)])
    data = writer.add("Transpose", [data], perm=[0, 2, 1])
    data = writer.add("Add", [data, writer.weight("positions", 1, tokens, width)])
    split = writer.ints("split", 0, tokens, heads, width // heads)
    joined = writer.ints("joined", 0, tokens, width)
    scale = writer.number("scale", (width // heads) ** -0.5)
    for _ in range(layers):
        inner = writer.norm(data, width)
        query, key, value = (
            writer.add("Transpose", [writer.add("Reshape", [writer.dense(inner, width, width), split])], perm=order)
            for order in ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3])
        )
        scores = writer.add("Mul", [writer.add("MatMul", [query, key]), scale])
        mixed = writer.add("MatMul", [writer.add("Softmax", [scores], axis=-1), value])
        mixed = writer.add("Reshape", [writer.add("Transpose", [mixed], perm=[0, 2, 1, 3]), joined])
        data = writer.add("Add", [data, writer.dense(mixed, width, width)])
        inner = writer.add("Relu", [writer.dense(writer.norm(data, width), width, 4 * width)])
        data = writer.add("Add", [data, writer.dense(inner, 4 * width, width)])
    data = writer.add("ReduceMean", [writer.norm(data, width)], axes=[1], keepdims=0)
    return writer.classifier(data, width, "vit")
