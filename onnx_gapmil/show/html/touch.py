"""What a page needs in which a photo can be touched: the scripts and styles, the parts of the address, the colours."""

from __future__ import annotations

from typing import Any

from onnx_gapmil.show.drawing.palette import CATEGORICAL, OTHER
from onnx_gapmil.show.html.maps import colour_scale, difference_scale

#: What every page with a photo under a grid has.
PHOTO_SCRIPTS = (
    "elements.js",
    "address.js",
    "theme.js",
    "grid_numbers.js",
    "boxes.js",
    "photo_grid.js",
    "saving.js",
)
TOUCH_SCRIPTS = (
    "view/numbers.js",
    "view/maps.js",
    "view/stage.js",
    "view/reading.js",
    "view/classes.js",
    "view/zip.js",
    "view/exports.js",
    "view/standing.js",
    "view/model.js",
    "view/change.js",
    "view/touch.js",
)
TOUCH_STYLES = ("view/touch.css",)

#: What the address of a page may say of the photo that is touched, and what holds where it says nothing.
TOUCH_ADDRESS = {
    "head": "",
    "map": "",
    "pins": "",
    "cell": "",
    "rect": "",
    "pool": "",
    "family": "lse",
    "smooth": "",
    "opacity": "100",
    "cut": "",
    "find": "",
    "sort": "rank",
}
#: The same in the address of a report, which has a map and words to find of its own.
WITHIN_ADDRESS = {
    **{key: value for key, value in TOUCH_ADDRESS.items() if key not in ("head", "map", "find")},
    "over": "",
    "among": "",
}


def touch_colours() -> dict[str, Any]:
    """The colours that the scripts paint maps and winners with."""
    return {
        "scale": colour_scale(),
        "difference": difference_scale(),
        "colours": [f"rgb({red} {green} {blue})" for red, green, blue in CATEGORICAL],
        "other": "rgb({} {} {})".format(*OTHER),
    }
