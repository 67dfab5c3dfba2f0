"""The picture of a photo and its prediction grid."""
