"""Builds `sessions.pml` with SPIN and a C compiler, runs the verifier, and says what it found in words."""

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

MODEL = Path(__file__).with_name("sessions.pml")
KINDS = {"eviction": 1, "crash": 2, "hang": 3, "cut": 4, "kill": 5, "SQL away": 6, "forgery": 7}
# The numbers that a printf of the model leaves as they are.
WORDS = {
    "request 1": "to show the deal",
    "request 2": "to select one",
    "request 3": "to sign out",
    " (gone: 0)": "",
    " (gone: 1)": " (gone)",
    "sql: 0": "redis",
    "sql: 1": "sql",
}


class Failed(Exception):
    """SPIN, the compiler or the verifier did not run."""


@dataclass(frozen=True)
class Bounds:
    """What is explored: how many requests each browser makes, and what befalls them."""

    requests: tuple[int, int]
    faults: int = 0
    kind: str | None = None  # of fault; None: any
    pauses: int = 0
    switches: tuple[str, ...] = ()
    formula: str | None = None  # an LTL formula instead of the assertions

    def __str__(self) -> str:
        about = [f"{self.requests[0]} + {self.requests[1]} requests"]
        if self.faults:
            about.append(f"{self.faults} fault{'s' * (self.faults > 1)} ({self.kind or 'any kind'})")
        if self.pauses:
            about.append(f"{self.pauses} pause")
        about += [each.lower().replace("_", " ") for each in self.switches]
        return ", ".join(about + ([f"[{self.formula}]"] if self.formula else []))

    @property
    def flags(self) -> list[str]:
        numbers = {"REQUESTS_A": self.requests[0], "REQUESTS_B": self.requests[1], "FAULTS": self.faults, "PAUSES": self.pauses}
        if self.kind:
            numbers["ONLY"] = KINDS[self.kind]
        return [f"-D{name}={value}" for name, value in numbers.items()] + [f"-D{each}" for each in self.switches]


@dataclass(frozen=True)
class Verdict:
    """`broken` names the promise; `story` is how it came to that. A run that was not exhaustive is none: it raises Failed."""

    states: int
    megabytes: float
    seconds: float
    broken: str | None = None
    story: list[str] = field(default_factory=list)


def verify(bounds: Bounds, *, without: str | None = None, memory: int = 12_000, optimise: bool = True) -> Verdict:
    """Explore all that `bounds` allow, or look for the shortest way to break a promise `without` one mechanism."""
    shortest = without is not None and not bounds.formula and "JUDGED" not in bounds.switches
    safety = [] if bounds.formula else ["-DSAFETY"]
    with TemporaryDirectory(prefix="spin-") as directory:
        breaks = [f"-DBREAK_{without}"] if without else []
        _run(["spin", *bounds.flags, *breaks, *(["-DLTL"] if bounds.formula else []), "-a", str(MODEL)], directory)
        how = ["-DBFS"] if shortest else ["-DCOLLAPSE"]
        compiler = ["gcc", "-O1" if optimise else "-O0", "-w", *safety, *how, f"-DMEMLIM={memory}"]
        _run([*compiler, "-o", "pan", "pan.c"], directory)
        search = ["./pan", "-w22", "-m1000000", *(["-a", "-N", bounds.formula] if bounds.formula else [])]
        said = _run(search, directory)
        if "errors: 0" in said:
            if "Search not completed" in said or "max search depth too small" in said:
                raise Failed(said)
            return _verdict(said)
        story = _story(_run(["./pan", "-S", f"{MODEL.name}.trail"], directory))
        broken = next((line.removeprefix("BROKEN ") for line in story if line.startswith("BROKEN ")), bounds.formula or said)
        return _verdict(said, broken=broken, story=story)


def _run(command: list[str], directory: str) -> str:
    try:
        done = subprocess.run(
            command, cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False
        )
    except FileNotFoundError as error:
        raise Failed(f"{error.filename} is missing: apt-get install spin gcc libc6-dev") from error
    if command[0] in ("spin", "gcc") and done.returncode:
        raise Failed(f"{' '.join(command)}\n{done.stdout}")
    return done.stdout


def _verdict(said: str, **found: object) -> Verdict:
    figures: Mapping[str, str] = {
        name: match[1]
        for name, pattern in (
            ("states", r"([\d.e+]+) states, stored"),
            ("megabytes", r"([\d.]+)\s+total actual memory"),
            ("seconds", r"elapsed time ([\d.e+]+)"),
        )
        if (match := re.search(pattern, said))
    }
    if len(figures) < 3:
        raise Failed(said)
    return Verdict(int(float(figures["states"])), float(figures["megabytes"]), float(figures["seconds"]), **found)  # type: ignore[arg-type]


def _story(said: str) -> list[str]:
    lines = [line.strip().removeprefix("MSC: ") for line in said.splitlines() if "MSC: " in line and "MSC: ~G" not in line]
    for number, word in WORDS.items():
        lines = [line.replace(number, word) for line in lines]
    return lines
