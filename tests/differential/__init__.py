"""The same conversations direct and through a shared pool of one, compared byte by byte."""
