"""The trace file: typed header and events, format, writer and reader. Knows nothing of Keras."""
