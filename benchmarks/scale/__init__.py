"""The same work on a database that years have filled, and on an empty one: `make bench-scale`.

`filling.py` writes the years in a few statements; sites, load and rounds are those of `benchmarks/speed`.
"""
