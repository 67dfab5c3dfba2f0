"""A service that answers photos with evidence by place: python examples/grid_service.py model.onnx 8000."""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO

import numpy as np
from PIL import Image, ImageOps

from onnx_gapmil import Classifier, GapmilError, ImagePrediction


def evidence(found: ImagePrediction) -> list[dict[str, object]]:
    """The best classes, each with the rectangle of the photo (x0, y0, x1, y1) that speaks for it most."""
    places = found.places.reshape(-1, 4)[found.grid.reshape(len(found.grid), -1).argmax(axis=1)].tolist()
    return [{"class": best.label, "logit": best.logit, "place": places[best.index]} for best in found.heads[0].top]


def service(model: str, port: int) -> ThreadingHTTPServer:
    classifier = Classifier(model)  # opened, rewritten and proved once

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            data = BytesIO(self.rfile.read(min(int(self.headers["Content-Length"]), 50_000_000)))
            try:
                photo = ImageOps.exif_transpose(Image.open(data)).convert("RGB")
            except OSError:
                self.send_error(400, "This is no image.")
            else:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(json.dumps(evidence(classifier.predict(np.asarray(photo)))).encode())

    return ThreadingHTTPServer(("127.0.0.1", port), Handler)


if __name__ == "__main__":
    if len(sys.argv) != 3 or not sys.argv[2].isdecimal():
        sys.exit(__doc__)
    try:
        service(sys.argv[1], int(sys.argv[2])).serve_forever()
    except GapmilError as error:
        sys.exit(str(error))
