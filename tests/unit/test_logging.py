"""Logs: one event a line, nothing secret in it."""

import json
import logging
from datetime import datetime, timedelta

import pytest
import structlog

from app.core.config import load_settings
from app.core.logging import configure_logging


@pytest.fixture(params=["json", "console"])
def lines(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> pytest.CaptureFixture[str]:
    configure_logging(load_settings({"LOG_FORMAT": request.param, "SECRET_KEY": "k" * 32}))
    return capsys


def test_event_is_one_line_whatever_is_in_it(lines: pytest.CaptureFixture[str]) -> None:
    structlog.get_logger("app.test").info("Deal\nrenamed", name="a\r\nb\u2028c\x1b[31m\u202ed")
    written = lines.readouterr().err
    assert written.count("\n") == 1
    assert not set("\r\x1b\u2028\u202e") & set(written)


def test_secrets_are_blanked_out(lines: pytest.CaptureFixture[str]) -> None:
    log = structlog.get_logger("app.test")
    log.info("Seen", password="hunter2", token="hunter2", cookie="hunter2", url="redis://:hunter2@cache/0", Authorization="hunter2")
    logging.getLogger("arq").warning("Lost %s", "redis://:hunter2@cache/0")
    assert "hunter2" not in lines.readouterr().err


def test_other_libraries_speak_through_the_same_handler_and_not_below_warning(lines: pytest.CaptureFixture[str]) -> None:
    logging.getLogger("aiosqlite").debug("executing with parameters")
    logging.getLogger("aiosqlite").info("executing with parameters")
    logging.getLogger("aiosqlite").warning("slow")
    written = lines.readouterr().err
    assert "parameters" not in written
    assert "slow" in written


@pytest.mark.parametrize("lines", ["json"], indirect=True)
def test_json_event_has_its_time_in_utc_its_request_and_its_traceback(lines: pytest.CaptureFixture[str]) -> None:
    with structlog.contextvars.bound_contextvars(request_id="abc"):
        try:
            raise ValueError("bad")
        except ValueError:
            structlog.get_logger("app.test").exception("It failed")
    event = json.loads(lines.readouterr().err)
    assert (event["event"], event["level"], event["request_id"]) == ("It failed", "error", "abc")
    assert datetime.fromisoformat(event["timestamp"]).utcoffset() == timedelta(0)
    assert "ValueError: bad" in event["exception"]
