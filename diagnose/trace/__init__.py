"""The trace file: data model, format, writer and reader. Knows nothing of Keras."""
