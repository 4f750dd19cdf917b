"""What is true of every session unless something is wrong that nobody thought of: looked at before a write and after a read.

Where it is not true that is counted and logged, for us to hear of it. The request goes on: it is not the visitor's fault.
"""

from typing import Any

import structlog

from app.core.metrics import METRICS

log = structlog.get_logger()


def expect(is_true: bool, what: str, **about: Any) -> None:
    """`what` is a label of the metric, so one of few."""
    if not is_true:
        METRICS.unexpected.labels(what).inc()
        log.error("Sessions are not as they must be; the request goes on. Please report this.", what=what, **about)
