"""People at work on anybody's server: `make load URL=http://…`.

`__main__.py` asks whose server it is and starts Locust, which runs `locustfile.py`: people in `people.py`. What they must not
meet is in `thresholds.py`, and decides the exit status. Locust and its own dependencies have a virtual environment of their own.
"""
