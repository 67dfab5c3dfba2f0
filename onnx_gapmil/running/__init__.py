"""Run a rewritten model: batches in, prediction grids out; photos through it as a stream."""
