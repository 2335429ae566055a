"""Keras and its insides in one place: what it does not document, in small functions by subject, and a table of the
names that these rely on (`relied_on`). Nothing of ours is imported here."""
