"""Find a model's head and lift it: from the logits back to the pool, one operator, one rule at a time."""
