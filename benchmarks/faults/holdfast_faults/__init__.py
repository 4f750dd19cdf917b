"""A conformance kit for session layers: the same faults for any of them, over six routes of HTTP.

`cli.py` is the command. `layer.py` says how a session layer's servers are started, `site.py` starts them with a Redis of their own,
`scenarios/` is what happens to them, `visitor.py` a browser, `cells.py` judges what it saw, `history.py` writes it down and `report.py`
is the table.
"""
