"""A policy judged: every rule passes, fails, warns or is not judged, and what was left out never counts as passed."""
