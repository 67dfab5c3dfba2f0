"""Audit a vendor's classifier: python examples/audit_a_model.py model.onnx labelled_photos/ audit/."""

import sys

from onnx_gapmil import GapmilError, audit, inspect


def main(model: str, data: str, output: str) -> None:
    """Say what the head is, measure it on labelled images, and point at the report."""
    found = inspect(model)
    print(f"{model}: {found.verdict or 'refused'}")
    if found.verdict is None:
        sys.exit("Nothing is drawn of a head that does not decompose; onnx-gapmil inspect says why.")
    summary = audit(model, data, output)
    print(f"Right at top-1: {summary.top1:.1%} of {summary.images} images.")
    wrong = summary.foreground.wrong if summary.foreground is not None else None
    if wrong is not None and wrong.excess is not None:
        print(f"Answered wrongly, the true class wins a cell on the object in {wrong.any_top1:.1%};")
        print(f"that is {100 * wrong.excess:+.1f} points beyond classes that rank beside it: what the mean loses.")
    print(f"All of it: {output}/report.html")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    try:
        main(*sys.argv[1:])
    except GapmilError as error:
        sys.exit(str(error))
