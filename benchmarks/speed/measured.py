"""What was measured of one site in one row: its rounds, and what they say together."""

from dataclasses import asdict, dataclass, field
from statistics import median, quantiles
from typing import Any


@dataclass(frozen=True)
class Round:
    """`cpu_ms` a request, of the server; `generator` is the share of its core that the load generator used.
    `refused` were answered by 503 and count for nothing else."""

    requests: int
    seconds: float
    cpu_ms: float
    generator: float
    refused: int = 0

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds


@dataclass
class Measured:
    """`times` are the seconds of every answer of every round. `bytes` an answer, with its head."""

    rounds: list[Round] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    bytes: float = 0

    @property
    def per_second(self) -> float:
        return median(each.per_second for each in self.rounds)

    @property
    def refused(self) -> int:
        return sum(each.refused for each in self.rounds)

    @property
    def cpu_ms(self) -> float:
        return median(each.cpu_ms for each in self.rounds)

    def quantile(self, percent: int) -> float:
        """Milliseconds."""
        if len(self.times) < 2:
            return 1000 * sum(self.times)
        return 1000 * quantiles(self.times, n=100, method="inclusive")[percent - 1]

    def as_dict(self) -> dict[str, Any]:
        figures = {"requests_per_second": self.per_second, "cpu_ms": self.cpu_ms, "p50_ms": self.quantile(50), "p99_ms": self.quantile(99)}
        rounded = {name: round(figure, 3) for name, figure in figures.items()}
        return {**rounded, "bytes": round(self.bytes), "rounds": [asdict(each) for each in self.rounds]}
