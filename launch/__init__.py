"""Plans, submits, monitors and resumes sweeps of many runs (``python -m launch --help``)."""
