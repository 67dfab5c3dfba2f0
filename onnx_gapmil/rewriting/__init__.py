"""What is done with a lift: analyse a model, explain it, write its prediction grid, prove it."""
