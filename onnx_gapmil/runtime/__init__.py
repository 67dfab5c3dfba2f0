"""Run models on ONNX Runtime: choose a provider that truly works, make sessions, get prediction grids."""
