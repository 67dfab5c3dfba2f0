"""Measure what a prediction grid costs here: original against rewritten, in time, memory and multiply-adds."""
