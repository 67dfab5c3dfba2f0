"""Try another pool: python examples/repool_and_compare.py model.onnx max labelled_photos/ out/."""

import sys
from pathlib import Path

from onnx_gapmil import GapmilError, compare, repool


def main(model: str, aggregator: str, data: str, output: str) -> None:
    """Write the model with another pool, and say whether it answers better on labelled images, and how surely."""
    Path(output).mkdir(parents=True, exist_ok=True)
    repooled = Path(output) / f"{Path(model).stem}.repooled.onnx"
    repool(model, aggregator, repooled)
    # The file lies elsewhere than the model, and than what states the model's preprocessing and names.
    beside = Path(model).with_suffix(".preprocess.json")
    found = compare(model, repooled, data, Path(output) / "compare", preprocess=beside if beside.exists() else None)
    accuracy = found.accuracy
    if accuracy is None:
        sys.exit("The images have no labels.")
    low, high = accuracy.interval
    print(f"by the mean {accuracy.old:.1%}, by {aggregator} {accuracy.new:.1%}")
    print(f"difference {100 * accuracy.difference:+.1f} points, 95 % interval {100 * low:+.1f} to {100 * high:+.1f}")
    print("That may be chance." if low <= 0 <= high else "That is more than chance.")


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    try:
        main(*sys.argv[1:])
    except GapmilError as error:
        sys.exit(str(error))
