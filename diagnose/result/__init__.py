"""The diagnosis as data, its JSON, and how numbers and names are spelled. Loads nothing heavy."""
