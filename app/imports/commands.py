"""The commands `holdfast import` and `holdfast seed-demo`: files and terminals around the service."""

import asyncio
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, BinaryIO, NoReturn, cast

import click
from sqlalchemy.exc import ProgrammingError

from app.core.config import Settings, load_settings
from app.core.database import Database
from app.core.errors import BadRequest, DatabaseUnavailable, PayloadTooLarge
from app.imports import service
from app.imports.conventions import Evidence
from app.imports.layout import layout_of, place_orders, questions_of, readings_of
from app.imports.mapping import ColumnMap, map_columns, parse_override
from app.imports.reader import TableLike, UnreadableFile
from app.imports.report import ImportRefused, Report
from app.imports.survey import Survey, open_table, survey_file
from app.resources import open_resources

NOT_ALL_IN, USAGE = 1, 2
NO_TABLES = "The database has not the tables of this version: run `holdfast migrate`."


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--organisation", required=True, metavar="NAME", help="All deals go into this organisation; it is created if it does not exist."
)
@click.option("--dry-run", is_flag=True, help="Check the file and say what would happen; write nothing.")
@click.option("--map", "overrides", multiple=True, metavar='"HEADING=FIELD"', help='Name the field of a column, or "ignore". Repeatable.')
@click.option("--sheet", metavar="NAME", help="The sheet of a workbook; else the one that looks most like a list of deals.")
@click.option(
    "--date-order",
    "date_orders",
    multiple=True,
    metavar="[HEADING=]ORDER",
    help="day_first or month_first, where the dates of a column do not prove which it is. Repeatable.",
)
@click.option("--skip-bad", is_flag=True, help="Leave refused rows out and import the rest.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def import_deals(
    file: Path,
    organisation: str,
    *,
    dry_run: bool,
    overrides: tuple[str, ...],
    sheet: str | None,
    date_orders: tuple[str, ...],
    skip_bad: bool,
    as_json: bool,
) -> None:
    """Import deals from FILE, an Excel workbook (.xlsx) or CSV.

    Columns are recognised by their headings; the acquirer is a field of the deal. A deal that is already there, by its
    reference or else by acquirer, target and year, gets the facts that changed and nothing else. Either every row goes
    in or none, unless --skip-bad.

    Exit status: 0 done, 1 rows were refused and nothing was imported, 2 the file or an option is unusable.
    """
    settings = load_settings()
    try:
        with _open_file(file) as stream, TemporaryFile() as written:
            found = survey_file(stream, cast(BinaryIO, written), sheet=sheet)
            columns = _place_columns(found, overrides, date_orders)
            source = cast(BinaryIO, written) if found.sheet else stream
            table = open_table(source, is_sheet=bool(found.sheet))
            name = service.check_organisation(organisation)
            with _progress_bar(source, hidden=as_json) as bar:
                report = asyncio.run(
                    _import(settings, table, columns, organisation=name, dry_run=dry_run, skip_bad=skip_bad, progress=_advance(bar))
                )
    except ImportRefused as refused:
        report = refused.report
    except UnreadableFile as error:
        _fail(f"{file}: {error}", USAGE)
    except (BadRequest, PayloadTooLarge) as error:
        _fail(str(error), USAGE)
    except ProgrammingError as error:
        raise DatabaseUnavailable(NO_TABLES) from error
    if found.encoding == "cp1252":
        click.echo("The file is not UTF-8; it was read as Windows-1252. Check the accents.", err=True)
    click.echo(json.dumps(report.as_dict(), ensure_ascii=False, indent=2) if as_json else _describe(report, dry_run=dry_run))
    if report.outcome == "refused":
        sys.exit(NOT_ALL_IN)


def _place_columns(found: Survey, overrides: tuple[str, ...], date_orders: tuple[str, ...]) -> ColumnMap:
    """Raises `BadMapping`, and `BadRequest` where nothing tells the order of its dates."""
    columns = map_columns(found.headings, dict(map(parse_override, overrides)))
    fields = [""] * len(found.headings)
    for fact, index in columns.columns.items():
        fields[index] = fact
    evidence = [Evidence.of(each) for each in found.evidence]
    layout = layout_of(found, fields, place_orders(found.headings, fields, evidence, date_orders))
    if open_ := [each for each in questions_of(layout) if not each["chosen"]]:
        raise BadRequest(f"{open_[0]['reason']} Pass --date-order day_first or --date-order month_first.")
    return columns.read_as(readings_of(layout))


async def _import(
    settings: Settings,
    table: TableLike,
    columns: ColumnMap,
    *,
    organisation: str,
    dry_run: bool,
    skip_bad: bool,
    progress: service.Progress,
) -> Report:
    database = Database(settings.database_url, name="holdfast-import")
    try:
        # A dry run takes no lock, so that it can be tried beside a busy site.
        async with database.read() if dry_run else database.write() as db:
            report = await service.import_deals(
                db,
                service.batches_of(table),
                columns,
                organisation=organisation,
                at=database.clock.now(),
                dry_run=dry_run,
                skip_bad=skip_bad,
                progress=progress,
            )
    finally:
        await database.close()
    if report.new_names and not dry_run:
        async with open_resources(settings, kind="cli") as resources:
            await service.show_new_names(resources, report.new_names)
    return report


def _open_file(file: Path) -> BinaryIO:
    try:
        if file.is_dir():
            raise UnreadableFile("This is a directory.")
        if file.exists() and not file.is_file():
            raise UnreadableFile("This is not a regular file.")
        return file.open("rb")
    except OSError as error:
        raise UnreadableFile(f"{error.strerror}.") from error


def _progress_bar(file: BinaryIO, *, hidden: bool) -> Any:
    return click.progressbar(
        length=os.fstat(file.fileno()).st_size, label="Importing", file=sys.stderr, hidden=hidden or not sys.stderr.isatty()
    )


def _advance(bar: Any) -> Callable[[int], None]:
    """The bar counts steps, the service tells positions."""
    return lambda position: bar.update(position - bar.pos)


def _describe(report: Report, *, dry_run: bool) -> str:
    lines = [f"  line {refusal.line}: {refusal.reason}" for refusal in report.refused]
    if lines:
        lines.insert(0, f"{len(report.refused):,} of {report.rows:,} rows refused:")
    total = report.warning_counts.total()
    if total:
        lines.append(f"{total:,} warnings:")
        lines += [f"  line {warning.line}: {warning.message}" for warning in report.warnings]
        if total > len(report.warnings):
            lines.append(f"  … and {total - len(report.warnings):,} more")
    if report.ignored_headings:
        lines.append("Columns with an unknown heading, ignored: " + ", ".join(f'"{heading}"' for heading in report.ignored_headings))
    if report.outcome == "refused":
        lines.append("Nothing was imported: correct these rows, or leave them out with --skip-bad.")
        return "\n".join(lines)
    verb = "Would import" if dry_run else "Imported"
    new = ", a new organisation" if report.organisation_created else ""
    lines.append(
        f"{verb} {report.imported:,} deals into {report.organisation}{new}; {report.updated:,} updated, "
        f"{report.unchanged:,} unchanged, {report.skipped:,} skipped as duplicates, {len(report.refused):,} refused."
    )
    return "\n".join(lines)


def _fail(message: str, status: int) -> NoReturn:
    click.echo(f"Error: {message}", err=True)
    sys.exit(status)
