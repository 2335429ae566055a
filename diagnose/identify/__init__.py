"""Whose weights: of a model, a file, or an average of versions."""
