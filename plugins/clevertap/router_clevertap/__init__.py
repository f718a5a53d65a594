"""CleverTap for Router Core: a destination for its upload API, and a sandbox of that API."""

__version__ = "0.1.0"
