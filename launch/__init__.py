"""Many runs: a sweep is planned, submitted, watched and resumed (``python -m launch --help``)."""
