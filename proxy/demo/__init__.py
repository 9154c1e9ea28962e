"""The demonstration that ``tidegate demo`` runs: a Lambda burst with and without the proxy."""

from proxy.demo.command import main

__all__ = ["main"]
