"""What an audit measures, image by image: pure functions of logits, grid, labels and boxes."""

from __future__ import annotations
