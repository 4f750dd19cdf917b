"""Leaves logging as it was: what a test configures must not silence the next one."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from app.core.logging import TALKATIVE


@contextmanager
def logging_restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers = root.handlers[:]
    levels = {name: logging.getLogger(name).level for name in (None, *TALKATIVE)}
    yield
    root.handlers[:] = handlers
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    structlog.reset_defaults()
