"""A killed parent takes its children with it (Linux). Killed by SIGKILL it cannot tell them itself, so the kernel does.

`python -m app.parent PID COMMAND…` turns into COMMAND, a child that ends with its parent PID.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def end_with_parent(parent: int | None = None) -> None:
    """From now on the end of the parent is a SIGTERM to this process, also across an exec. `parent`: who it is expected to be."""
    if sys.platform != "linux":
        return
    parent = parent or os.getppid()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        # It ended before it could be asked for.
        os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    end_with_parent(int(sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606  that is its purpose
