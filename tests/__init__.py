"""Tests of the proxy; the folders mirror ``proxy/``."""
