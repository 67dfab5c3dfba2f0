"""How new nodes hang on the vendor's graph, so that the runtime's optimizers make of it what they made before."""
