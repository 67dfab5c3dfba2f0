from __future__ import annotations

import os
import sys
import warnings

import pytest

from onnx_gapmil.ort.quiet import native_output_discarded


def test_native_and_python_output_is_discarded_and_comes_back(capfd):
    with native_output_discarded():
        os.write(2, b"from C++")
        print("from Python")
        print("from Python", file=sys.stderr)
        warnings.warn("from Python", stacklevel=1)
    os.write(2, b"after")
    print("after")
    assert capfd.readouterr() == ("after\n", "after")


def test_output_comes_back_after_an_error(capfd):
    def fail():
        with native_output_discarded():
            os.write(2, b"lost")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    os.write(2, b"kept")
    assert capfd.readouterr().err == "kept"
