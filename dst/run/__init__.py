"""A run on disk: the format of its directory, its checkpoints and logs, and who else is told of them."""
