"""`python -m app` is `holdfast`."""

from app.cli import main

main()
