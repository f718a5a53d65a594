"""The benchmark: the router as it is installed, a load generator before it and a partner's stand-in behind it."""
