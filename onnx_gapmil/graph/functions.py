"""Inline local functions: jax2onnx, and PyTorch's legacy exporter if asked to, can hide the head in one."""

from __future__ import annotations

import onnx
import onnx.inliner


def inline_functions(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of the model with every call of a local function replaced by its body.

    ``onnx.inliner`` silently skips a function whose own operator sets differ from the model's (jax2onnx writes 1
    beside 23), so the versions are aligned first: the model's hold, as they do for every runtime that inlines.

    Args:
        proto: the model; not changed.
    """
    aligned = onnx.ModelProto()
    aligned.CopyFrom(proto)
    versions = {entry.domain: entry.version for entry in proto.opset_import}
    for function in aligned.functions:
        for entry in function.opset_import:
            if entry.domain in versions:
                entry.version = versions[entry.domain]
            else:
                aligned.opset_import.append(entry)
                versions[entry.domain] = entry.version
    return onnx.inliner.inline_local_functions(aligned)


def has_functions(proto: onnx.ModelProto) -> bool:
    """Whether the model defines local functions."""
    return len(proto.functions) > 0
