"""ONNX Runtime: providers that truly work, sessions, values, errors in one sentence."""
