"""Keras and its insides in one place."""
