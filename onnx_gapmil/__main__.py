"""`python -m onnx_gapmil` is the command `onnx-gapmil`."""

import sys

from onnx_gapmil.cli import main

if __name__ == "__main__":
    sys.exit(main())
