"""Typed settings: the model, the loader, the comparison used by reload."""
