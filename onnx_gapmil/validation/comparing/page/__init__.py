"""The page of a comparison: verdict in sentences, the images that changed most, both grids under one pointer."""
