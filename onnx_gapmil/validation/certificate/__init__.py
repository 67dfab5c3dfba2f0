"""A certificate: what was proved of a rewritten file, bound to the files, and replayed on another machine."""
