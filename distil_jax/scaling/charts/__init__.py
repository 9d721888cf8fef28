"""Charts of fitted laws and of plans by them, as PNG."""
