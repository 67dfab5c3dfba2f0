"""A service: a photo's best classes and what speaks for each: python examples/grid_service.py model.onnx 8000."""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np

from onnx_gapmil import Classifier, GapmilError


def service(model: str, port: int) -> ThreadingHTTPServer:
    classifier = Classifier(model)  # opened, rewritten and proved once

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            data = self.rfile.read(min(int(self.headers["Content-Length"]), 50_000_000))
            pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
            if pixels is None:
                self.send_error(400, "This is no image.")
            else:
                found = classifier.predict(np.ascontiguousarray(pixels[..., ::-1]))
                best = found.places.reshape(-1, 4)[found.grid.reshape(len(found.grid), -1).argmax(axis=1)].tolist()
                rows = [{"class": e.label, "logit": e.logit, "place": best[e.index]} for e in found.heads[0].top]
                self.send_response(200)
                self.end_headers()
                self.wfile.write(json.dumps(rows).encode())

    return ThreadingHTTPServer(("127.0.0.1", port), Handler)


if __name__ == "__main__":
    if len(sys.argv) != 3 or not sys.argv[2].isdecimal():
        sys.exit(__doc__)
    try:
        service(sys.argv[1], int(sys.argv[2])).serve_forever()
    except GapmilError as error:
        sys.exit(str(error))
