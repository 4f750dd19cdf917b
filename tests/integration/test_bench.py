"""`make bench` measures: a tiny run of it, as the real ones take minutes."""

import asyncio
import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from benchmarks.speed import report
from benchmarks.speed.chart import as_svg
from benchmarks.speed.client import Connection, Refused, Sample, is_whole, request
from benchmarks.speed.measured import Measured, Round
from benchmarks.speed.rows import ROWS, cpu_share, share
from tests.servers.web import ROOT


def measured(*per_second: float, cpu_ms: float = 1.0) -> Measured:
    return Measured([Round(int(each), 1.0, cpu_ms, 0.1) for each in per_second], [0.001, 0.002, 0.003], 2048)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_bench_measures_a_row_and_writes_its_figures(tmp_path: Path) -> None:
    # Without the peers, whose environment only `make bench` installs.
    file = tmp_path / "figures.json"
    tiny = ["--database", "sqlite", "--rounds", "1", "--seconds", "0.2", "--json", str(file)]
    command = [sys.executable, "-m", "benchmarks.speed", "api-list", "restore", *tiny]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "api-list" in done.stdout
    figures = json.loads(file.read_text())
    assert all(cells["sqlite"]["requests_per_second"] > 0 for cells in figures["rows"].values())
    assert figures["rows"].keys() == {"api-list", "restore"}
    assert {goal["goal"] for goal in figures["goals"]["api-list"]} == {"≤ 1.5 ms of CPU"}


def test_ratios_are_those_of_the_rounds_so_that_a_slow_round_slows_both() -> None:
    cells = {"sqlite": measured(50, 500, 50), "bare": measured(100, 1000, 100, cpu_ms=0.25)}
    assert share(cells, "sqlite", "bare") == 0.5
    assert cpu_share(cells, "sqlite", "bare") == 4


def test_goals_are_judged_only_beside_what_they_compare_with() -> None:
    assert [goal.met for goal in ROWS["warm"].goals({"bare": measured(100), "sqlite": measured(71)})] == [True]
    assert list(ROWS["warm"].goals({"sqlite": measured(71)})) == []
    assert list(ROWS["select"].goals({"sqlite": measured(71)})) == []


def test_before_and_after_are_shown_beside_each_other() -> None:
    table = report.as_comparison({"warm": {"sqlite": measured(150), "sqlite@abc1234": measured(100)}}, "abc1234")
    assert "| 100 → 150 | 1.50 |" in table


def test_the_picture_has_a_bar_for_each_site() -> None:
    picture = as_svg({"warm": {"bare": measured(5000), "sqlite": measured(50)}})
    assert picture.count("<rect") == 2


@pytest.mark.parametrize(
    ("answer", "whole"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", True),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok", False),
        (b"HTTP/1.1 200 OK\r\nContent-Le", False),
        (b"HTTP/1.1 204 No Content\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", False),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", True),
    ],
)
def test_the_load_generator_waits_for_the_whole_answer(answer: bytes, whole: bool) -> None:
    assert is_whole(answer) is whole


async def test_a_503_is_counted_and_any_other_refusal_ends_the_benchmark() -> None:
    ended = asyncio.Event()
    answers = iter([b"200 OK", b"503 Service Unavailable", b"404 Not Found"])

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError):
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 " + next(answers) + b"\r\nContent-Length: 0\r\n\r\n")
        writer.close()
        ended.set()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    _, connection = await asyncio.get_running_loop().create_connection(Connection, "127.0.0.1", port)
    sample = Sample()
    for _ in range(2):
        await sample.note(connection.ask(request("GET", "/")), 0)
    assert (len(sample.times), sample.refused) == (1, 1)
    with pytest.raises(Refused, match="404"):
        await connection.ask(request("GET", "/"))
    connection.transport.close()
    await ended.wait()
    server.close()
    await server.wait_closed()
