"""Tidegate: a connection pooler that speaks the database's own wire protocol on both sides."""

__version__ = "0.1.0"
