"""Minutes of random load."""
