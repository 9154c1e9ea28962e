"""A client and, for a while, a server."""
