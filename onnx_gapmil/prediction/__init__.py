"""Photos in; classes, cells, boxes, grids and pictures out."""
