"""The advice of an error is what to do, by itself."""

from __future__ import annotations

import pytest

from onnx_gapmil.cli.failure import advice_in


@pytest.mark.parametrize(
    ("message", "advice"),
    [
        ("m.onnx: no such file, and an ONNX model was expected; check the path.", "Check the path."),
        ("out holds an audit. Choose another folder, or begin anew.", "Choose another folder, or begin anew."),
        (
            "s3://b: URLs are read by fsspec, which is not installed: pip install 'x[remote]'.",
            "pip install 'x[remote]'.",
        ),
        ("a.csv, line 2: 'x' is a web address; only files are read, so fetch it first.", "Fetch it first."),
        ("labels.txt: line 3 is empty; every class needs a name.", ""),
        ("the file is damaged.", ""),
    ],
)
def test_what_to_do_stands_by_itself(message: str, advice: str) -> None:
    assert advice_in(message) == advice
