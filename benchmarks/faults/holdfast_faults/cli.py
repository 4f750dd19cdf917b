"""`holdfast-faults`: point it at a session layer, and see what it does when things go wrong."""

import asyncio
import signal
import time
from pathlib import Path
from typing import Any

import click

from .cells import Verdict
from .layer import MANIFEST, Layer, load_layers
from .report import as_json, as_page, as_summary, as_table, merged, read_findings
from .runner import Findings, missing_for, run_all
from .scenarios import SCENARIOS, Pace, Scenario

ADAPTER = """\b
The adapter is a small web app on your session layer. Its six routes:
\b
  POST /login/USER     Sign USER in without a password, with a new session. 2xx.
  POST /logout         End this session. 2xx, also where there is none.
  POST /set/KEY/VALUE  Keep VALUE under KEY in this session. 2xx, or 401.
  GET  /get/KEY        {"value": "VALUE"}, or {"value": null}; or 401.
  POST /revoke-all     End every session of this user, this one too. 2xx, or
                       401; 501 where the layer cannot.
  GET  /whoami         {"user": "USER"}; 401 for whoever is not signed in.
\b
USER is reader, writer, leaver or newcomer, KEY is a or b, VALUE is 0 or 1.
An outage is a 5xx. Cookies must work over plain HTTP.
"""
EXAMPLES = """\b
Examples:
  holdfast-faults run --start "node app.js --port {port} --redis {redis}"
  holdfast-faults run --start "gunicorn -b 127.0.0.1:{port} app:app" --prepare "python manage.py migrate"
  holdfast-faults run --adapter http://127.0.0.1:8001 --adapter http://127.0.0.1:8002
"""


def _check_names(_context: click.Context, _parameter: click.Parameter, names: tuple[str, ...]) -> tuple[str, ...]:
    if unknown := set(names) - SCENARIOS.keys():
        raise click.BadParameter(f"{', '.join(sorted(unknown))} is none of {', '.join(SCENARIOS)}.")
    return names


only_option = click.option("--only", multiple=True, metavar="SCENARIO", callback=_check_names, help="Only this scenario. Repeatable.")
history_option = click.option(
    "--history",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write every request there, a file for each scenario, as JSON lines like Jepsen's: process, type (invoke, ok, fail, info), f, "
    "key, value, time.",
)
redis_option = click.option(
    "--redis-server", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A redis-server to use instead of Valkey."
)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
def cli() -> None:
    """A conformance kit for session layers: break Redis and the servers in front of yours, and see what a user would."""


@cli.command(epilog=f"{ADAPTER}\n{EXAMPLES}")
@click.option("--adapter", "urls", multiple=True, metavar="URL", help="A running adapter; give it once for each of its servers. Only "
              "scenarios run that need nothing but requests; the others are said to be not run.")  # fmt: skip
@click.option("--start", metavar="COMMAND", help="Starts one server, in this directory. {port}, {redis} and {dir} are filled in, also as "
              "PORT, REDIS_URL and SITE_DIR in its environment. The kit starts two, with a Redis of its own; {dir} is a directory "
              "that both share, for a database.")  # fmt: skip
@click.option("--prepare", default="", metavar="COMMAND", help="Runs once before, to make a database in {dir}; each scenario gets a copy.")
@click.option("--servers", default=2, show_default=True, type=click.IntRange(1, 8), help="How many servers --start starts.")
@click.option("--name", default="this layer", help="What the layer is called in the output.")
@only_option
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write the table as JSON, too.")
@click.option("--markdown", "markdown_file", type=click.Path(dir_okay=False, path_type=Path), help="Write the table there, too.")
@history_option
@redis_option
def run(**options: Any) -> None:
    """Run the scenarios against one session layer, and print a table.

    The exit status is 0 where all is ok, not offered or not run, 1 where something is down, lost or unsafe, and 2 where the adapter does
    not work before anything was done to it.
    """
    if bool(options["urls"]) == bool(options["start"]):
        raise click.UsageError("Give either --adapter or --start.")
    layer = Layer(
        options["name"], start=options["start"] or "", urls=options["urls"], prepare=options["prepare"], servers=options["servers"]
    )
    [found] = _run([layer], _chosen(options["only"]), at_once=3, redis_binary=options["redis_server"])
    table = as_table(found)
    click.echo(table)
    if options["json_file"]:
        options["json_file"].write_text(as_json([found]))
    if options["markdown_file"]:
        options["markdown_file"].write_text(f"{table}\n")
    _write_histories([found], options["history"])
    _report_unusable([found])
    raise SystemExit(int(any(found.verdict(name) >= Verdict.DOWN for name in found.cells)))


@cli.command()
@click.option("--layers", "manifest", default=MANIFEST, type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="Which layers, and how each is started; by default those of the repository.")  # fmt: skip
@click.option("--layer", "wanted", multiple=True, metavar="TEXT", help="Only layers whose name has this in it. Repeatable.")
@only_option
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Write RESULTS.md and results.json there; by default beside "
              "the manifest's folder, and nowhere if something was left out.")  # fmt: skip
@click.option("--update", is_flag=True, help="Run only what --layer and --only name, and put it into the results that are there.")
@click.option("--at-once", default=3, show_default=True, help="How many sites run beside each other.")
@history_option
@redis_option
def compare(
    *,
    manifest: Path,
    wanted: tuple[str, ...],
    only: tuple[str, ...],
    out: Path | None,
    update: bool,
    at_once: int,
    history: Path | None,
    redis_server: Path | None,
) -> None:
    """Run several session layers through the same scenarios, and write one table."""
    began = time.monotonic()
    every = load_layers(manifest)
    layers = [layer for layer in every if not wanted or any(text.lower() in layer.name.lower() for text in wanted)]
    absent = {layer.name: reason for layer in layers if (reason := missing_for(layer))}
    for name, reason in absent.items():
        click.echo(f"{name}: not run, as {reason}.", err=True)
    here = [layer for layer in layers if layer.name not in absent]
    if not here:
        raise click.ClickException("No layer to run.")
    findings = _run(here, _chosen(only), at_once=at_once, redis_binary=redis_server)
    seconds = time.monotonic() - began
    click.echo(as_summary(findings) if len(findings) > 1 else as_table(findings[0]))
    _write_histories(findings, history)
    if out is None and (update or not (wanted or only)):
        out = manifest.resolve().parents[1]
    if out is not None and update:
        findings = merged(read_findings(out / "results.json", every), findings, every)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "RESULTS.md").write_text(as_page(findings, absent=absent))
        (out / "results.json").write_text(as_json(findings))
        click.echo(f"\nWritten to {out / 'RESULTS.md'} after {seconds:.0f} s.")
    _report_unusable(findings)


@cli.command()
def scenarios() -> None:
    """List the scenarios: what is done, what is judged, why it matters, and what each needs."""
    for scenario in SCENARIOS.values():
        needs = "; ".join(sorted(need.value for need in scenario.needs)) or "requests only"
        click.echo(f"{scenario.name}: {scenario.title}")
        for label, text in (("done", scenario.does), ("judged", scenario.judges), ("why", scenario.matters), ("needs", needs)):
            click.echo(f"  {label + ':':<8}{text}")
        click.echo()


def main() -> None:
    # As Ctrl-C: whatever runs is ended and removed first.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    cli(prog_name="holdfast-faults")


def _chosen(only: tuple[str, ...]) -> list[Scenario]:
    return [scenario for name, scenario in SCENARIOS.items() if not only or name in only]


def _run(layers: list[Layer], chosen: list[Scenario], *, at_once: int, redis_binary: Path | None) -> list[Findings]:
    def say(line: str) -> None:
        click.echo(line, err=True)

    return asyncio.run(run_all(layers, chosen, pace=Pace(), at_once=at_once, say=say, redis_binary=redis_binary))


def _report_unusable(findings: list[Findings]) -> None:
    """Ends with status 2 where there is something to report."""
    failed = [(found.layer.name, name, why) for found in findings for name, why in found.unusable.items()]
    for layer, name, why in failed:
        click.echo(f"Error: {layer}, {name}: {why}", err=True)
    if failed:
        raise SystemExit(2)


def _write_histories(findings: list[Findings], folder: Path | None) -> None:
    for found in findings if folder else ():
        for scenario, history in found.histories.items():
            assert folder
            history.write(folder / found.layer.name.replace("/", "-").replace(" ", "-") / f"{scenario}.jsonl")
