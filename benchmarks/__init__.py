"""Measurements against what a team would install instead; not part of the tests."""
