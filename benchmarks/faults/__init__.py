"""The same faults for five session layers, side by side: `make bench-faults`.

`sites.py` starts each of them, `visitor.py` is a browser, `scenarios.py` what happens, `report.py` the table. `apps/` holds the
minimal app of each peer, run by a virtual environment of their own; Holdfast is the real one.
"""
