"""Programs of the system that tests start: a missing one fails the test with the package to install, never skips it."""

import shutil

import pytest

# The program, and Debian's package where that has another name.
PACKAGES = {
    "caddy": "caddy",
    "faketime": "faketime",
    "gcc": "gcc with libc6-dev",
    "haproxy": "haproxy",
    "nginx": "nginx",
    "pgbouncer": "pgbouncer",
    "spin": "spin",
}


def find_program(name: str) -> str:
    """The path of `name`, also where root's folders are not on the PATH."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin:/sbin")
    if found is None:
        pytest.fail(f"This test needs {name}: install the package {PACKAGES[name]}, or leave the tests like it out with SURROUNDINGS=0")
    return found
