"""What an audit measures: pure functions of logits, grid, labels, boxes and masks.

`measure_image` makes one image's record, plain JSON; `summarise` turns records into figures. The definitions stand in
the modules, one for each measure, and for people in ``docs/measures.md``.
"""

from onnx_gapmil.metrics.image import measure_image
from onnx_gapmil.metrics.summary import summarise

__all__ = ["measure_image", "summarise"]
