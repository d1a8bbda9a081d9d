"""Known leaks, sent on purpose: proof in every audit that a real one would have been seen."""
