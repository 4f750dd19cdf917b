"""The command `holdfast worker`."""

import asyncio

import click

from app.config import load_settings
from app.logging import configure_logging
from worker import supervisor


@click.command()
def worker() -> None:
    """Run the scheduled jobs until SIGTERM or Ctrl-C."""
    settings = load_settings()
    configure_logging(settings)
    asyncio.run(supervisor.run(settings))
