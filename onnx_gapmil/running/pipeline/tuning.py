"""Settings of the whole process that suit a stream of photos; for programs, and not for libraries, to choose."""

from __future__ import annotations

import ctypes
import gc
import sys

import cv2

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_KEPT = 2**28
_YOUNG_OBJECTS = 20_000
_LARGEST_KEPT = 2**25  # glibc takes no more


def tune_process() -> None:
    """Keep freed memory, look for garbage less often, and leave threads to the pipeline.

    Decoding a photo takes and frees arrays of a megabyte. glibc gives each back to the system at once, and the next
    photo pays for every page anew: reading a 500 x 375 JPEG took 3.2 ms that way and 1.4 ms when 256 MB may be kept
    (on a virtual machine, where page faults are dear). OpenCV's own threads would only compete with the decoding ones.
    """
    cv2.setNumThreads(1)
    # Of a photo some hundred objects live for a moment, and none of them in a circle.
    gc.set_threshold(_YOUNG_OBJECTS)
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_KEPT)
        mallopt(_M_TRIM_THRESHOLD, _KEPT)
