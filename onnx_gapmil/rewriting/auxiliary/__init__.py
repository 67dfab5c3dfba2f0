"""Auxiliary classifiers on earlier maps: the maps, the new output with a finer grid, and its proof."""
