"""What the jobs do, a few lines each: call one service, count what it did. Their times and tries stand in `app.jobs.definitions`.

A body may be cut short anywhere and run again, so what it does is idempotent; it returns what the run's row shows as counts.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from app.jobs.run import Run
from app.resources import Resources
from worker.jobs.check_session_backend import check_session_backend
from worker.jobs.expire_sessions import expire_sessions
from worker.jobs.import_file import import_file
from worker.jobs.roll_up_analytics import roll_up_analytics
from worker.jobs.sweep_stale_deals import sweep_stale_deals
from worker.jobs.verify_audit_chain import verify_audit_chain

Body = Callable[[Resources, Run], Awaitable[dict[str, Any]]]

BODIES: dict[str, Body] = {
    body.__name__: body
    for body in (
        expire_sessions,
        sweep_stale_deals,
        check_session_backend,
        roll_up_analytics,
        verify_audit_chain,
        import_file,
    )
}
# What a version before workbooks queued.
BODIES["import_deals"] = import_file
