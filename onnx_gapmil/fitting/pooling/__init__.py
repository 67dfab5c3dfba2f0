"""A pool for a head from labelled images: what is kept of them, how they are split, the fits, and their likelihood."""
