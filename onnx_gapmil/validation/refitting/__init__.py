"""A pool fitted on labelled images: read as an audit reads them, fitted on one half, judged on the other, written or not."""
