"""What every request asked and got, in the way Jepsen writes histories: a JSON object a line.

`process` is a client that waits for each answer; one that got none is never used again. `type` is `invoke`, then `ok` (it happened),
`fail` (it did not) or `info` (nobody knows). `f` is the operation, `key` what it is about (`writer-1` is a login, `writer-1/a` a key of
its session, `writer` a person), `value` what was written or seen, `time` nanoseconds since the scenario began. `status`, `server` and
`replayed` are extras. What was done to the site has the process `nemesis` and the type `info`.
"""

import itertools
import json
import time
from pathlib import Path
from typing import Any


class History:
    def __init__(self) -> None:
        self.entries: list[dict[str, Any]] = []
        self._began = time.monotonic_ns()
        self._processes = itertools.count()
        self._logins = itertools.count(1)

    def new_process(self) -> int:
        return next(self._processes)

    def new_login(self, user: str) -> str:
        return f"{user}-{next(self._logins)}"

    def add(self, process: int | str, kind: str, f: str, *, key: str | None = None, value: Any = None, **extras: Any) -> None:
        entry = {"process": process, "type": kind, "f": f, "key": key, "value": value, "time": time.monotonic_ns() - self._began}
        self.entries.append(entry | extras)

    def disturb(self, what: str, value: Any = None) -> None:
        self.add("nemesis", "info", what, value=value)

    def write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{json.dumps(entry)}\n" for entry in self.entries))
