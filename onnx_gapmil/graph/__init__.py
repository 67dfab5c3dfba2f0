"""Read a model: load it safely, look at its graph, trace the shapes it really has, append to it."""
