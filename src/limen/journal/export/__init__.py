"""Records on their way out: what may leave, under which name, in which format."""
