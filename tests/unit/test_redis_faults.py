"""What a server says when it cannot serve counts as an outage, what it says of one wrong command does not."""

import pytest
from redis._parsers.base import BaseParser
from redis.exceptions import ResponseError

from app.core.redis import ask_instance, describe_fault, is_outage
from app.core.redis_keys import RedisKeys

OUTAGES = [
    "READONLY You can't write against a read only replica.",
    "OOM command not allowed when used memory > 'maxmemory'.",
    "LOADING Redis is loading the dataset in memory",
    "ERR max number of clients reached",
    "NOAUTH Authentication required.",
    "WRONGPASS invalid username-password pair or user is disabled.",
    "NOPERM this user has no permissions to run the 'set' command",
    "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.",
    "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
]
OF_ONE_COMMAND = [
    "WRONGTYPE Operation against a key holding the wrong kind of value",
    "NOSCRIPT No matching script. Please use EVAL.",
    "ERR unknown command 'X'",
]


def of(said: str) -> BaseException:
    error: BaseException = BaseParser.parse_error(said)  # type: ignore[no-untyped-call]
    return error


@pytest.mark.parametrize("said", OUTAGES)
def test_server_that_cannot_serve_is_an_outage_told_in_words(said: str) -> None:
    error = of(said)
    assert is_outage(error)
    assert describe_fault(error) not in ("", "no answer in time")


@pytest.mark.parametrize("said", OF_ONE_COMMAND)
def test_wrong_command_is_no_outage(said: str) -> None:
    assert not is_outage(of(said))


@pytest.mark.parametrize("error", [TimeoutError(), ConnectionRefusedError(), OSError("unreachable")])
def test_silence_is_an_outage(error: OSError) -> None:
    assert is_outage(error)


async def test_server_that_does_not_tell_who_it_is_is_refused_with_what_to_do() -> None:
    class Terse:
        """Stands for a proxy or a service that speaks the protocol and hides itself."""

        async def send_command(self, *_: str) -> None: ...

        async def read_response(self) -> bytes:
            return b"# Server\r\nredis_version:7.4\r\n"

    with pytest.raises(ResponseError, match="use Valkey, or Redis 6 or newer"):
        await ask_instance(Terse(), RedisKeys())  # type: ignore[arg-type]
