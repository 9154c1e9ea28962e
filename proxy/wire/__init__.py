"""Protocol-independent building blocks of the sans-I/O code."""
