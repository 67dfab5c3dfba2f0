"""What an audit measures: pure functions of logits, grid, labels, boxes and masks.

`measure_image` makes one image's `ImageMeasures`; `summarise` turns those of a data set into its `Figures`, and
`class_rows` into a row for each class. The definitions stand in the modules, one for each measure, and for people in
``docs/measures.md``.
"""

from onnx_gapmil.metrics.figures import Figures
from onnx_gapmil.metrics.image import ImageMeasures, measure_image
from onnx_gapmil.metrics.summary import class_rows, summarise

__all__ = ["Figures", "ImageMeasures", "class_rows", "measure_image", "summarise"]
