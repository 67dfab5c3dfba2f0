"""Photos through a model as a stream: decoded, prepared, run and handed on at the same time, in order.

`iterate` gives one answer for each photo, `iterate_batches` a batch of them; `ordered_map` is the stage that both
are made of, and that what comes after (drawing, writing) uses too.
"""

from __future__ import annotations

from onnx_gapmil.running.pipeline.ordered import ordered_map
from onnx_gapmil.running.pipeline.stream import Answered, BatchAnswered, Photo, batch_size, iterate, iterate_batches

__all__ = ["Answered", "BatchAnswered", "Photo", "batch_size", "iterate", "iterate_batches", "ordered_map"]
