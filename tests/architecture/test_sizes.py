"""A file is small enough to be read at once."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("app", "worker", "migrations", "tests", "benchmarks")
KINDS = {".py", ".js", ".html", ".css"}
MAX_LINES = 400
# Why each of these is longer.
LONGER = {
    "tests/test_session_persistence.py": "the request for Holdfast names it, with its tests",
    "tests/model/session_protocol.py": "the model of the protocol is read beside docs/sessions.md, from one page",
    "tests/resilience/chaos.py": "one program",
    "tests/integration/test_work_pages.py": "the forms of every page in a deal share their helpers",
}


def test_no_file_is_longer_than_four_hundred_lines() -> None:
    found = (path for room in ROOMS for path in (ROOT / room).rglob("*") if path.suffix in KINDS)
    paths = [path for path in found if not {".venv", "node_modules"} & set(path.parts)]
    assert len(paths) > 600, "the files were found"
    lengths = {str(path.relative_to(ROOT)): path.read_bytes().count(b"\n") for path in paths}
    assert {name for name, lines in lengths.items() if lines > MAX_LINES} == LONGER.keys()
