"""The `holdfast` command: what it can do, where each part lives, and how failures read."""

from importlib import import_module
from typing import Any

import click

from app.core.config import ConfigError
from app.core.errors import AppError, DatabaseUnavailable
from app.core.logging import configure_quiet_logging

# Where a command lives, imported when it is called (so that --help is quick), and the line that tells what it does.
COMMANDS = {
    "dev": ("app.dev.command:dev", "Start everything on this machine: database, demo data, Valkey, web, worker."),
    "web": ("app.ops.commands:web", "Serve the site."),
    "worker": ("worker.commands:worker", "Run the scheduled jobs."),
    "migrate": ("app.ops.commands:migrate", "Bring the database to this version's tables."),
    "rollback": ("app.ops.commands:rollback", "Take back the last migration, with what only it holds."),
    "seed-demo": ("app.demo.commands:seed_demo", "Load the demo organisations, people and deals."),
    "import": ("app.imports.commands:import_deals", "Import deals from a CSV file."),
    "user": ("app.auth.commands:user", "Add, disable or give a new password to a person."),
    "sessions": ("app.ops.commands:sessions", "Count, purge or revoke sessions."),
    "jobs": ("worker.job_commands:jobs", "List, run, cancel or pause jobs, and show what ran."),
    "deals": ("worker.job_commands:deals", "Sweep last deals nobody can come back to, and the bin."),
    "audit": ("app.ops.audit_commands:audit", "Verify the sealed chain of events."),
    "explain": ("app.ops.explain.command:explain", "Say why somebody's deal is or is not current."),
    "health": ("app.ops.commands:health", "Check database, Redis and session backend."),
    "doctor": ("app.ops.commands:doctor", "Make the emergency checks, each with its fix."),
    "config": ("app.ops.commands:config", "Show the effective settings, secrets masked."),
}


class LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Expected failures end in their own words and a status: 2 for what the caller must change, 1 for what failed."""
        try:
            return super().invoke(ctx)
        except ConfigError as wrong:
            raise Misconfigured(str(wrong)) from None
        except AppError as failed:
            raise Failure(_in_words(failed)) from None


class Failure(click.ClickException):
    def show(self, file: Any = None) -> None:
        for line in self.message.splitlines():
            click.echo(f"Error: {line}", err=True)


class Misconfigured(Failure):
    exit_code = 2


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="holdfast", prog_name="holdfast")
def cli() -> None:
    """Holdfast, a deal workspace in which you never lose your place."""
    configure_quiet_logging()


def main() -> None:
    cli(prog_name="holdfast")


def _in_words(failed: AppError) -> str:
    """What failed and, for an outage, the driver's reason for it."""
    if isinstance(failed, DatabaseUnavailable) and failed.fix:
        return f"{failed} ({failed.reason}) {failed.fix}"
    cause = failed.__cause__
    reason = str(getattr(cause, "orig", None) or cause or "").strip().splitlines()
    return f"{failed} ({reason[0]})" if reason else str(failed)
