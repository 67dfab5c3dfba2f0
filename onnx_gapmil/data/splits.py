"""The words that name a split of a data set, as folders and files are called."""

SPLITS = frozenset({"train", "training", "trainval", "val", "valid", "validation", "dev", "test", "testing"})
