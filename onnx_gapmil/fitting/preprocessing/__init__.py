"""The preprocessing detective: a few dozen labelled images tell how the model wants its photos."""

from onnx_gapmil.fitting.preprocessing.ranking import Ranking, RankingRow
from onnx_gapmil.fitting.preprocessing.search import LabelledImage, rank_presets

__all__ = ["LabelledImage", "Ranking", "RankingRow", "rank_presets"]
