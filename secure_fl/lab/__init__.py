"""The laboratory: simulated scenarios, and comparisons of many of them."""
