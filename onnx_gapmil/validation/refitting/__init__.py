"""A pool fitted on one half of labelled images, judged on the other, and written where it holds."""
