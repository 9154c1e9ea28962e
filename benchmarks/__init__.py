"""What the proxy costs, measured beside its peers in one interleaved run: ``make bench``."""
