"""Gate an int8 model: python examples/gate_an_int8_model.py int8.onnx float.onnx labelled_photos/ gate/."""

import sys
from pathlib import Path

from onnx_gapmil import GapmilError, check

POLICY = """
schema_version = 1
[[require]]
metric = "compare.accuracy.difference"
min = -0.02
bound = "lower"
[[require]]
metric = "compare.grids.correlation"
min = 0.95
"""


def main(candidate: str, current: str, data: str, output: str) -> int:
    """Compare both on the same images, and judge the candidate by two rules; the exit code is the gate's."""
    Path(output).mkdir(parents=True, exist_ok=True)
    policy = Path(output) / "gapmil.toml"
    policy.write_text(POLICY, encoding="utf-8")
    report = check(candidate, policy, data=data, against=current, output=output, junit=Path(output) / "check.xml")
    for rule in report.rules:
        print(f"{rule.state:<10}  {rule.name}  {rule.reason}".rstrip())
    return report.exit_code


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    try:
        sys.exit(main(*sys.argv[1:]))
    except GapmilError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
