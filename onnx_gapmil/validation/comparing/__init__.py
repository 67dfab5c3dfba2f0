"""Two models, or two heads or aggregators of one, on the same images: who flips, what moved, and where."""
