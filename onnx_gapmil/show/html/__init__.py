"""The parts of a page: markup, plots, maps, style and script. One file, no network."""
