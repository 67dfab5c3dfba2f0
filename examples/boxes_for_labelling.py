"""Weak boxes as pre-annotations: python examples/boxes_for_labelling.py model.onnx photos/ boxes.coco.json."""

import json
import sys
from pathlib import Path

from onnx_gapmil import GapmilError, predict


def main(model: str, photos: str, output: str) -> None:
    """Write the boxes of all photos as a COCO data set, for a labelling tool to import and people to mend."""
    images, annotations, names = [], [], {}
    for number, photo in enumerate(predict(model, photos).images, start=1):
        if photo.image is None or photo.geometry is None:  # an array is no photo
            continue
        height, width = photo.geometry.image_size
        images.append({"id": number, "file_name": photo.image.name, "width": width, "height": height})
        for box in photo.heads[0].boxes:
            names[box.index] = box.label
            x0, y0, x1, y1 = box.box
            place = {"bbox": [x0, y0, x1 - x0, y1 - y0], "area": (x1 - x0) * (y1 - y0), "iscrowd": 0}
            annotations.append({"id": len(annotations) + 1, "image_id": number, "category_id": box.index + 1, **place})
    categories = [{"id": index + 1, "name": name} for index, name in sorted(names.items())]
    content = {"images": images, "annotations": annotations, "categories": categories}
    Path(output).write_text(json.dumps(content), encoding="utf-8")
    print(f"{len(annotations)} boxes in {len(images)} photos: {output}")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    try:
        main(*sys.argv[1:])
    except GapmilError as error:
        sys.exit(str(error))
