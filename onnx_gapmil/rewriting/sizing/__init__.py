"""A model at another input size than the one that its graph fixes: opened, or refused by the node that forbids it."""
