"""The release of geocli."""

__version__ = "0.1.0"
