"""Methods of sparse training at equal cost, and the figures of Cyclic Sparse Training (Gadhikar et al., 2024)."""
