"""A page on the own machine to look and to touch: any photo, any class, any cell."""
