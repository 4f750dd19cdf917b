"""Asks whose server it is, and starts Locust on it."""

import ipaddress
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import click

HERE = Path(__file__).parent
LOCUST = HERE / ".venv" / "bin" / "locust"
REPORT = HERE / "report.html"
# Everybody is in after half a minute, as at nine in the morning; signing in is dear by design.
ARRIVAL_SECONDS = 30


@click.command()
@click.argument("url")
@click.option("--users", default=200, show_default=True, type=click.IntRange(1))
@click.option("--minutes", default=5.0, show_default=True, type=click.FloatRange(0.05))
@click.option("--ui", is_flag=True, help="Locust's web page on http://127.0.0.1:8089 instead of a run of MINUTES.")
@click.option(
    "--accounts", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Lines of address and password; else the demo's."
)
@click.option("--report", default=REPORT, type=click.Path(dir_okay=False, path_type=Path), help="Where the HTML goes.")
@click.option("--yes-this-is-mine", is_flag=True, help="The address is not this machine's, and I may put load on it.")
def main(*, url: str, users: int, minutes: float, ui: bool, accounts: Path | None, report: Path, yes_this_is_mine: bool) -> None:
    """Put people to work on the server at URL. Exit status 1 where it does not keep the thresholds.

    METRICS_TOKEN, where the server has one, lets its own figures be read.
    """
    if not yes_this_is_mine and not is_loopback(url):
        raise click.UsageError(f"{url} is not on this machine. Load on somebody else's server is an attack: add --yes-this-is-mine.")
    environ = {**os.environ, **({"LOAD_ACCOUNTS": str(accounts.resolve())} if accounts else {})}
    rate = max(users / ARRIVAL_SECONDS, 1)
    command: list[str | Path] = [
        LOCUST,
        "-f",
        HERE / "locustfile.py",
        "--host",
        url.rstrip("/"),
        "--users",
        str(users),
        "--spawn-rate",
        f"{rate:.2f}",
    ]
    if ui:
        command += ["--web-host", "127.0.0.1"]
    else:
        command += ["--headless", "--only-summary", "--run-time", f"{60 * minutes:.0f}s", "--html", report]
    done = subprocess.run(command, env=environ, check=False)
    if not ui:
        click.echo(f"Report: {report}")
    sys.exit(done.returncode)


def is_loopback(url: str) -> bool:
    """By what the address says; a name is looked up by nobody, so only localhost is one."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


if __name__ == "__main__":
    main()
