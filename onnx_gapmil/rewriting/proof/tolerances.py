"""What rounding explains, by element type."""

from __future__ import annotations

#: Largest |mean over cells - logits| / max |logits| that rounding explains, by the bytes of the element type; the same
#: of each class's own cells, and of a cell that the head answered alone.
TOLERANCE = {2: 5e-3, 4: 2e-5, 8: 1e-10}
#: The same where the head rounds to integers of 8 bits on the way.
QUANTIZED_TOLERANCE = 0.05
#: The same for the algebra in float64: what is left is that constants of the new nodes are in the model's type.
ALGEBRA_TOLERANCE = {2: 5e-3, 4: 1e-6, 8: 1e-10}
