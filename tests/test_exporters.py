"""One small model of each exporter that the samples are made with, by the same check that `make zoo` uses for hundreds.

Nothing here needs a framework: the files lie in ``sample_models``. The whole suite is ``make zoo``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import onnx
import pytest

ROOT = Path(__file__).resolve().parents[1]
SAMPLES = ROOT / "sample_models"
ZOO = ROOT / "benchmarks" / "zoo"
for folder in (ROOT / "benchmarks", ZOO):
    if str(folder) not in sys.path:
        sys.path.append(str(folder))

import check  # noqa: E402
import zoo_report  # noqa: E402

#: By sample: the verdict that its head must get.
VERDICTS = {
    "digits_jax": "exact",
    "digits_keras": "exact",
    "digits_paddle": "exact",
    "digits_torch_dynamo": "conditional",
    "digits_torch_legacy": "exact",
    "digits_torch_vit": "refused",
}
