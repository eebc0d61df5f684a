"""The tables and figures of Gradient Flow in Sparse Neural Networks and How Lottery Tickets Win (Evci et al., 2022)."""
