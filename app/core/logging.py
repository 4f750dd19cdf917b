"""Logs: one event a line, in UTC, with the request's id, never a secret."""

import json
import logging
import re
import sys

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from app.core.config import Settings, cautions, mask_url

# Whose "info" is worth reading; everything else speaks from "warning" on. At "debug" a database driver would
# write out every parameter it binds, so no LOG_LEVEL reaches it.
TALKATIVE = ("app", "worker", "uvicorn", "arq", "alembic.runtime.migration")
_SECRET_KEY = re.compile(r"(?i)passw|secret|cookie|authori[sz]ation|(^|_)(token|auth_id|key)$")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


class _Handler(logging.Handler):
    """Ours, so that configuring twice replaces it and leaves a test runner's handlers alone. Standard error is what it is now, not then."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            sys.stderr.write(self.format(record) + "\n")
        except Exception:  # as every handler: a log line that cannot be written fails nothing else
            self.handleError(record)


def configure_logging(settings: Settings) -> None:
    """Send our own events and the libraries' through one handler on standard error. May be called again."""
    _configure(settings.log_level, settings.log_format)


def warn_of_weak_settings(settings: Settings) -> None:
    """What production would refuse to start with, once, where a process starts to serve."""
    for line in cautions(settings):
        structlog.get_logger("app").warning("A setting protects nothing: production will not start with it.", setting=line)


def configure_quiet_logging() -> None:
    """For commands, whose output is their answer: warnings only."""
    _configure("warning", "console")


def _configure(threshold: str, log_format: str) -> None:
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        redact,
    ]
    render = _json if log_format == "json" else _console
    handler = _Handler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render]
        )
    )
    root = logging.getLogger()
    for old in [each for each in root.handlers if isinstance(each, _Handler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    level = logging.getLevelNamesMapping()[threshold.upper()]
    root.setLevel(max(level, logging.WARNING))
    for name in TALKATIVE:
        logging.getLogger(name).setLevel(level)
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Blank out what is named like a secret, and the passwords inside URLs."""
    for key, value in event.items():
        if _SECRET_KEY.search(key):
            event[key] = "***"
        elif isinstance(value, str) and "://" in value:
            event[key] = mask_url(value)
    return event


def escape_controls(text: str) -> str:
    """The text with line breaks, terminal codes and direction overrides spelled out: it stays on its line."""
    return _CONTROL.sub(lambda found: found.group().encode("unicode_escape").decode(), text)


def _json(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    return json.dumps(event, default=str)


def _console(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    """For a person's eyes. A traceback follows on indented lines, which nothing from outside can imitate."""
    head = f"{event.pop('timestamp')} {event.pop('level'):<7} {escape_controls(str(event.pop('event')))}"
    event.pop("logger", None)
    traceback = str(event.pop("exception", "")).splitlines()
    fields = [f"{key}={_value(value)}" for key, value in event.items()]
    return "\n".join([" ".join([head, *fields]), *(f"    {escape_controls(line)}" for line in traceback)])


def _value(value: object) -> str:
    text = escape_controls(str(value))
    return '"' + text.replace('"', '\\"') + '"' if re.search(r"[\s=\"]", text) else text
