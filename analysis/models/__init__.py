"""Analyses of trained networks: interpolation, disagreement and ensembles, distances (docs/trained-models.md)."""
