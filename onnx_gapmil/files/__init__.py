"""Files of others and of the user: read to a limit, written whole or not at all, JSON as one text."""
