"""Progress of the functions, in a notebook and on a terminal."""
