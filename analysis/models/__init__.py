"""Analyses of trained networks: interpolation, disagreement, ensembles, distances, Hessian (docs/trained-models.md)."""
