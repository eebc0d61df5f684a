"""Similarity of pruning criteria: what they remove, and the masks they end with (Figures 6 and 17 to 21)."""
