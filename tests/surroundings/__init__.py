"""Holdfast among the software people really put around it: proxies, poolers, clocks that differ, other Pythons."""
