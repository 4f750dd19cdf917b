"""How fast Holdfast is beside what a team would install instead, and beside an earlier commit of itself: `make bench`.

`rows.py` says what is measured, `measuring.py` how, `sites.py` starts what is measured, `filling.py` gives it people and deals,
`client.py` makes the load, `machine.py` knows cores and CPU time, `report.py` and `chart.py` show it. `apps/` holds the minimal app
of each peer, run by a virtual environment of their own; Holdfast is the real one.
"""
