"""A repooled file: the vendor's graph with another pool, what the file says of that, and the way back."""
