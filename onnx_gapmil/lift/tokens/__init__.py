"""The class token's row, walked back through the trunk: a program of its own, whose stream is like a pooled tensor."""
