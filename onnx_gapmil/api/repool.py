"""`repool`: a model in, the same with another aggregator as its pool out, proved."""

from __future__ import annotations

from onnx_gapmil.api.places import takes_urls
from onnx_gapmil.rewriting import repooling

repool = takes_urls(files=("output",))(repooling.repool)
