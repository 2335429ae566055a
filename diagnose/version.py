"""The version of the package, which every trace and report names."""

__version__ = "0.1.0"
