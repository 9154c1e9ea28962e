"""Counters the relay keeps and their export."""
