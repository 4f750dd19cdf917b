"""What happens to a site, and what its visitors then see. Each scenario begins with a fresh site and good sessions."""

from .redis_away import REDIS_AWAY
from .redis_forgets import REDIS_FORGETS
from .scenario import Pace, Scenario
from .servers import SERVERS
from .sessions import SESSIONS

SCENARIOS: dict[str, Scenario] = {scenario.name: scenario for scenario in (*SESSIONS, *SERVERS, *REDIS_AWAY, *REDIS_FORGETS)}

__all__ = ["SCENARIOS", "Pace", "Scenario"]
