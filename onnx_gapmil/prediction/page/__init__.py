"""A page to point at: photos, their prediction grids and what is known of the model, in one file of HTML."""
