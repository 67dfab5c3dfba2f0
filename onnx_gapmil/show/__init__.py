"""Show results: pictures, the parts of a page, text for a terminal. Nothing is measured here."""
