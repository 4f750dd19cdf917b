"""The command `holdfast worker`."""

import asyncio

import click

from app.core.config import load_settings
from app.core.logging import configure_logging, warn_of_weak_settings
from app.core.python_versions import warn_if_untested
from worker import supervisor


@click.command()
def worker() -> None:
    """Run the scheduled jobs until SIGTERM or Ctrl-C."""
    settings = load_settings()
    configure_logging(settings)
    warn_if_untested()
    warn_of_weak_settings(settings)
    asyncio.run(supervisor.run(settings))
