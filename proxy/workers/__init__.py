"""The supervisor and its relay workers: one process per core behind one set of addresses."""
