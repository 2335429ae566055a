"""Replay of what Keras trained: its engine, and all that it needs of a Keras model."""
