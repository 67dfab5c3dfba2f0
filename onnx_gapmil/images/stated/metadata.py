"""What a model's metadata say of its preprocessing, by the keys that real exporters write."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from onnx_gapmil.files.literals import parse_numbers
from onnx_gapmil.images.stated.openvino import OPENVINO_KEYS, model_info, openvino
from onnx_gapmil.images.stated.statement import MetadataReading, Statement, values

if TYPE_CHECKING:
    from onnx_gapmil.images.input_spec import InputSpec

#: onnx, docs/MetadataProps.md; Windows ML, Custom Vision and onnxmltools write them, in any case.
PIXEL_FORMAT, PIXEL_RANGE, GAMMA = "Image.BitmapPixelFormat", "Image.NominalPixelRange", "Image.ColorSpaceGamma"
_FORMATS = {"gray8": "GRAY", "rgb8": "RGB", "bgr8": "BGR", "rgba8": "RGBA", "bgra8": "BGRA"}
#: Scale on pixels of 0..255, and what is then subtracted.
_RANGES = {
    "nominalrange_0_255": (1.0, 0.0),
    "normalized_0_1": (1 / 255, 0.0),
    "normalized_1_1": (1 / 127.5, 1.0),
    "nominalrange_16_235": (219 / 255, -16.0),
}
#: Ultralytics' exporter writes all of these; a classifier's `task` is "classify".
_ULTRALYTICS = ("description", "author", "date", "version", "license", "docs", "stride", "task", "batch", "imgsz")
_ULTRALYTICS_MORE = ("args", "channels", "end2end", "kpt_shape", "dynamic", "half", "nms")
#: Means and deviations under the names that people give them. QGIS Deepness divides pixels by 255 first.
_MEANS = (
    ("standardization_mean", "standardization_std"),
    ("image_mean", "image_std"),
    ("normalization_mean", "normalization_std"),
    ("input_mean", "input_std"),
    ("norm_mean", "norm_std"),
    ("mean", "std"),
)
_COLORS = ("color_format", "color_order", "color_space", "channel_order", "pixel_format", "input_color", "color")
_SIZES = ("imgsz", "image_size", "input_size", "img_size", "image_shape")
#: Notes of tools on themselves, and words on the model; they say nothing of how it is fed.
_ABOUT = re.compile(
    r"(gapmil|onnxsim|onnx|ort|onnxruntime|olive|winml|mlflow|pkg)\..*|producer.*|model_?(name|author|license|version)|"
    r"name|title|url|comment|copyright|license(_url)?|framework|format|created.*|export.*|opset|sha256",
    re.IGNORECASE,
)


def read_metadata(metadata: Mapping[str, str], spec: InputSpec) -> MetadataReading:
    """Read the keys that state a preprocessing.

    Args:
        metadata: the model's `metadata_props`.
        spec: its image input; what contradicts its channels is a note.
    """
    found = MetadataReading()
    readers: tuple[Callable[[Mapping[str, str], InputSpec, MetadataReading], None], ...] = (
        _onnx,
        openvino,
        _ultralytics,
        _means,
        _colors,
        _sizes,
    )
    for read in readers:
        read(metadata, spec, found)
    return found


def unknown_keys(metadata: Mapping[str, str], known: Iterable[str] = ()) -> tuple[str, ...]:
    """Keys that say something that is not read here: neither preprocessing nor names, nor what tools note."""
    read = {key.casefold() for key in (PIXEL_FORMAT, PIXEL_RANGE, GAMMA, *_ULTRALYTICS, *_ULTRALYTICS_MORE)}
    read |= {key.casefold() for key in (*_COLORS, *_SIZES, *known, *(key for pair in _MEANS for key in pair))}
    return tuple(
        key
        for key in metadata
        if key.casefold() not in read and model_info(key) not in OPENVINO_KEYS and not _ABOUT.fullmatch(key)
    )


def _onnx(metadata: Mapping[str, str], spec: InputSpec, found: MetadataReading) -> None:
    """The keys of the ONNX specification."""
    by_key = _in_any_case(metadata)
    channels = spec.channels()
    if (entry := by_key.get(PIXEL_FORMAT.casefold())) is not None:
        key, value = entry
        color = _FORMATS.get(value.strip().casefold())
        wanted = {"GRAY": 1, "RGB": 3, "BGR": 3, "RGBA": 4, "BGRA": 4}.get(color or "")
        if color is not None and wanted == channels:
            found.add("color", {"color": color}, color, key)
        else:
            fits = "is no format of the ONNX specification" if color is None else f"does not fit {channels} channel(s)"
            found.notes.append(f"The metadata key {key!r} is {value[:40]!r}, which {fits}; it is not followed.")
    if (entry := by_key.get(PIXEL_RANGE.casefold())) is not None:
        key, value = entry
        scale, mean = _RANGES.get(value.strip().casefold(), (0.0, 0.0))
        made = values(scale, (mean,), (1.0,), channels)
        if made is not None:
            found.add("values", *made, key)
        else:
            found.notes.append(
                f"The metadata key {key!r} is {value[:40]!r}, which is no range of the ONNX specification; "
                "it is not followed."
            )
    if (entry := by_key.get(GAMMA.casefold())) is not None and entry[1].strip().casefold() == "linear":
        found.notes.append(
            f"The metadata key {entry[0]!r} is 'Linear': the model wants linear light, and photos are sRGB; they are "
            "not linearized here."
        )


def _ultralytics(metadata: Mapping[str, str], spec: InputSpec, found: MetadataReading) -> None:
    """Ultralytics' exporter, YOLOv8 and later: `data/augment.py`, `classify_transforms`, on Pillow images in RGB."""
    task = metadata.get("task", "").strip()
    if not task or "stride" not in metadata or "imgsz" not in metadata:
        return
    size = _size(metadata["imgsz"])
    if size is not None:
        found.add("size", {"size": size}, f"{size[1]}x{size[0]}", "imgsz")
    made = values(1 / 255, (0.0,), (1.0,), spec.channels())
    source = f"the metadata key 'task' ({task[:40]!r}: Ultralytics' transforms)"
    if made is not None:
        found.statements.append(Statement("values", made[0], made[1], source))
    if spec.channels() == 3:
        found.statements.append(Statement("color", {"color": "RGB"}, "RGB", source))
    if task != "classify":
        found.notes.append(
            f"The metadata key 'task' is {task[:40]!r}, not 'classify': how photos are resized is not said."
        )
        return
    square = size is None or size[0] == size[1]
    rule = "shortest" if square else "squash"
    fields = {"resize": rule, "crop": 1.0, "interpolation": "bilinear-antialias"}
    says = "shorter side to the size, centre crop" if square else "squashed to the size"
    found.statements.append(Statement("resize", fields, f"{says}, bilinear-antialias", source))


def _means(metadata: Mapping[str, str], spec: InputSpec, found: MetadataReading) -> None:
    given = _in_any_case(metadata)
    for mean_key, std_key in _MEANS:
        present = [given[key] for key in (mean_key, std_key) if key in given]
        if not present:
            continue
        mean = parse_numbers(given[mean_key][1] if mean_key in given else "0")
        std = parse_numbers(given[std_key][1] if std_key in given else "1")
        if mean is None or std is None:  # half a normalization is none
            found.unread(*given[mean_key if mean is None else std_key])
            continue
        # Deviations of pixels are tens, of 0..1 tenths; mean and std are the library's own units.
        of_unit = mean_key.startswith("standardization") or (max(mean) <= 1 and max(std) <= 1)
        made = values(1 / 255 if of_unit else 1.0, mean, std, spec.channels())
        if made is not None:
            found.add("values", *made, present[0][0])
        else:
            found.unread(*present[0], f"which makes no values for {spec.channels()} channel(s)")


def _colors(metadata: Mapping[str, str], spec: InputSpec, found: MetadataReading) -> None:
    given = _in_any_case(metadata)
    for key, value in (given[name] for name in _COLORS if name in given):
        said = value.strip().strip("\"'").casefold()
        color = {"grayscale": "GRAY", "grey": "GRAY", "l": "GRAY"}.get(said, said.upper())
        if color not in ("RGB", "BGR", "GRAY"):
            found.unread(key, value, "which is no order of channels that is known here")
        elif (color == "GRAY") != (spec.channels() == 1):
            found.unread(key, value, f"which does not fit {spec.channels()} channel(s)")
        else:
            found.add("color", {"color": color}, color, key)


def _sizes(metadata: Mapping[str, str], spec: InputSpec, found: MetadataReading) -> None:
    given = _in_any_case(metadata)
    for key, value in (given[name] for name in _SIZES if name in given):
        size = _size(value)
        if size is not None:
            found.add("size", {"size": size}, f"{size[1]}x{size[0]}", key)
        else:
            found.unread(key, value, "which is no image's size")


def _in_any_case(metadata: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Keys as they are spelled, and their values, by the key in small letters."""
    return {key.casefold(): (key, value) for key, value in metadata.items()}


def _size(text: str) -> tuple[int, int] | None:
    """(height, width) of a number, two numbers, or the shape of an input; None of anything else."""
    numbers = parse_numbers(text)
    if numbers is None or any(number != int(number) or number < 1 for number in numbers):
        return None
    sides: Sequence[int] = [int(number) for number in numbers]
    if len(sides) in (3, 4):
        sides = [side for side in sides[-3:] if side not in (1, 3)]
    if len(sides) == 1:
        sides = [sides[0], sides[0]]
    return (sides[0], sides[1]) if len(sides) == 2 and max(sides) <= 8192 else None
