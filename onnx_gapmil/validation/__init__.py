"""May this model ship: two models compared on the same images, a policy judged, a proof that is replayed elsewhere."""
