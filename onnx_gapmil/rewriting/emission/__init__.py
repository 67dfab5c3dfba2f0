"""The outputs of a rewritten graph: which rows of the head they need, and how they are made."""
