"""Show results: text for a terminal, pictures for a report."""
