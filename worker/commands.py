"""The command `holdfast worker`."""

import asyncio

import click

from app.config import load_settings
from app.logging import configure_logging
from app.python_versions import warn_if_untested
from worker import supervisor


@click.command()
def worker() -> None:
    """Run the scheduled jobs until SIGTERM or Ctrl-C."""
    settings = load_settings()
    configure_logging(settings)
    warn_if_untested()
    asyncio.run(supervisor.run(settings))
