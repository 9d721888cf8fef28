"""Fitting a law to runs: the search, how sure its answer is, and how well it predicts."""
