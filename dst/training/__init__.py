"""Training a model: the loop, evaluation, the optimizer, the device, and what they cost."""
