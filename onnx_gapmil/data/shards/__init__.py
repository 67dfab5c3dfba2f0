"""Data sets that lie in few large files: Parquet of the Hugging Face kind, and tars of WebDataset."""
