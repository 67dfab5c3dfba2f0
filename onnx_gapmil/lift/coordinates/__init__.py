"""Where the elements of every tensor look: coordinates of the input's pixels, sent through the graph."""
