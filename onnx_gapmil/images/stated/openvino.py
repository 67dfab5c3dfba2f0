"""The keys of OpenVINO's Model API, as its exporters (Training Extensions, Anomalib) write them into ONNX files.

Model API, `inference_adapters/utils.py` (`load_parameters_from_onnx`) reads metadata keys whose words, split at spaces,
hold ``model_info``; Training Extensions writes ``model_info mean_values`` and so on. Some scripts write the bare key.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from onnx_gapmil.files.literals import parse_flag, parse_numbers
from onnx_gapmil.images.stated.statement import order_of_means, values

if TYPE_CHECKING:
    from onnx_gapmil.images.input_spec import InputSpec
    from onnx_gapmil.images.stated.statement import MetadataReading

#: Of Model API's configuration; those that say nothing of photos are known all the same.
_KEYS = (
    "mean_values scale_values reverse_input_channels resize_type pad_value layout input_dtype orig_height "
    "orig_width "
    "image_shape embedded_processing interpolation_type intensity_mode intensity_max_value intensity_min_value "
    "intensity_scale_factor intensity_percentile_low intensity_percentile_high intensity_window_center "
    "intensity_window_width intensity_repeat_channels model_type model_name model_short_name task_type task labels "
    "label_info label_ids label_tree multilabel hierarchical output_raw_scores confidence_threshold iou_threshold "
    "topk optimization_config otx_version getitune_version image_threshold pixel_threshold normalization_scale "
    "input_size add_feature_vector add_saliency_map saliency_map_name feature_vector_name "
)
OPENVINO_KEYS = frozenset(_KEYS.split())
#: What the two keys are where they are absent.
_NEUTRAL = {"mean_values": "0", "scale_values": "1"}
#: The numbers of an intensity mode.
_INTENSITIES = tuple(
    f"intensity_{name}" for name in ("max_value", "min_value", "scale_factor", "window_center", "window_width")
)
#: Sides beyond it are no image's.
_LARGEST_SIDE = 8192
_RULES = {"standard": "squash", "crop": "shortest", "fit_to_window_letterbox": "letterbox"}


def model_info(key: str) -> str:
    """The name of a key of Model API without its prefix: ``labels`` of ``model_info labels``."""
    return re.sub(r"^model_info[\s./:]+", "", key.strip())


def openvino(metadata: Mapping[str, str], spec: InputSpec, found: MetadataReading) -> None:
    """Read Model API's keys; of a key that is there with and without its prefix, the one with it."""
    keys = {model_info(key): key for key in sorted(metadata, key=lambda key: key.startswith("model_info"))}
    given = {name: metadata[key].strip() for name, key in keys.items() if name in OPENVINO_KEYS}
    scale = _intensity(given, keys, found)
    mean, deviation = (parse_numbers(given.get(name, text)) for name, text in _NEUTRAL.items())
    present = [name for name in _NEUTRAL if name in given]
    if present and (mean is None or deviation is None):  # half a normalization is none
        unread = "mean_values" if mean is None else "scale_values"
        found.unread(keys[unread], given[unread])
    elif mean is not None and deviation is not None and present:
        # Pixels of 0..255, unless Model API brought them to 0..1 before, or the numbers can only be of 0..1.
        small = max(mean) <= 1 and max(deviation) < 1
        factor = 1 / 255 if scale or small else 1.0
        made = values(factor, mean, deviation, spec.channels())
        if made is not None:
            found.add("values", *made, keys[present[0]])
        else:
            why = f"which makes no values for {spec.channels()} channel(s)"
            found.unread(keys[present[0]], given[present[0]], why)
    _color(given, keys, mean if "mean_values" in given else None, spec, found)
    _resizing(given, keys, found)


def _color(
    given: Mapping[str, str],
    keys: Mapping[str, str],
    mean: tuple[float, ...] | None,
    spec: InputSpec,
    found: MetadataReading,
) -> None:
    """Reversed means RGB: Model API reads photos by OpenCV, in BGR. Not reversed says nothing: newer ones read RGB."""
    if spec.channels() != 3:
        return
    reverses = parse_flag(given.get("reverse_input_channels", ""))
    order = order_of_means(mean or ())
    if reverses:
        found.add("color", {"color": "RGB"}, "RGB", keys["reverse_input_channels"])
    elif order is not None:
        key = keys["mean_values"]
        found.add("color", {"color": order}, f"{order}, the order in which its means are ImageNet's", key)
    elif reverses is False:
        found.notes.append(
            f"The metadata key {keys['reverse_input_channels']!r} is False: the channels are in the order of whoever "
            "decodes, which it does not say."
        )


def _resizing(given: Mapping[str, str], keys: Mapping[str, str], found: MetadataReading) -> None:
    rule = given.get("resize_type", "")
    if rule in _RULES:
        fields = {"resize": _RULES[rule], "crop": 1.0, "interpolation": "bilinear"}
        found.add("resize", fields, f"{_RULES[rule]}, bilinear", keys["resize_type"])
    elif rule:
        found.notes.append(
            f"The metadata key {keys['resize_type']!r} is {rule[:40]!r}, which has no "
            "counterpart here; it is not followed."
        )
    sides = {name: _side(given[name]) for name in ("orig_height", "orig_width") if name in given}
    for name, side in sides.items():
        if side is None:
            found.unread(keys[name], given[name], "which is no side of an image")
    height, width = sides.get("orig_height"), sides.get("orig_width")
    if height is not None and width is not None:
        found.add("size", {"size": (height, width)}, f"{width}x{height}", keys["orig_height"])
    elif len(sides) == 1 and None not in sides.values():
        name = next(iter(sides))
        found.unread(keys[name], given[name], "and the other side is not said")


def _side(text: str) -> int | None:
    numbers = parse_numbers(text)
    if numbers is None or len(numbers) != 1 or numbers[0] != int(numbers[0]):
        return None
    return int(numbers[0]) if 1 <= numbers[0] <= _LARGEST_SIDE else None


def _intensity(given: Mapping[str, str], keys: Mapping[str, str], found: MetadataReading) -> bool:
    """Samples of more than 8 bits: how they come to 0..1; whether it is said that they do."""
    mode = given.get("intensity_mode", "")
    numbers = {name: parse_numbers(given[name]) for name in _INTENSITIES if name in given}
    for name, read in numbers.items():
        if read is None or len(read) != 1:
            found.unread(keys[name], given[name], "which is no number")
            return False  # the mode by other numbers than the file's would be somebody else's

    def number(name: str, default: float) -> float:
        one = numbers.get(f"intensity_{name}")
        return one[0] if one else default

    top = number("max_value", 0.0)
    if mode == "scale_to_unit":
        if top > 0:
            found.add("full_scale", {"full_scale": top}, f"samples up to {top:.6g}", keys["intensity_max_value"])
        return True
    if mode == "window" and number("window_width", 0.0) > 0:
        center, half = number("window_center", 0.0), number("window_width", 0.0) / 2
        ends = (center - half, center + half)
    elif mode == "range_scale" and number("scale_factor", 0.0) > 0 and top > number("min_value", 0.0):
        ends = (number("min_value", 0.0) / number("scale_factor", 1.0), top / number("scale_factor", 1.0))
    else:
        if mode:
            found.notes.append(
                f"The metadata key {keys['intensity_mode']!r} is {mode[:40]!r}, which has no counterpart here; "
                "it is not followed."
            )
        return False
    found.add(
        "full_scale", {"full_scale": ends}, f"samples from {ends[0]:.6g} to {ends[1]:.6g}", keys["intensity_mode"]
    )
    return True
