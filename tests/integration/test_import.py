"""`holdfast import` as it is called, on both databases."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from click.testing import CliRunner, Result
from sqlalchemy import select, text, update

from app.core.database import Database
from app.core.logging import configure_quiet_logging
from app.demo.seed import DEMO_FILE
from app.imports.commands import import_deals
from app.models import Deal, Organisation, Session, User
from tests.factories import make_login, make_user
from tests.servers.blocking import blocking

NOW = datetime(2026, 11, 22, tzinfo=UTC)

Run = Callable[..., Result]

Query = Callable[[str], Sequence[Any]]


@pytest.fixture
def run(database_url: str, tmp_path: Path) -> Run:
    """`run(content, *options)`: import a file of that content (or at that path) into Acme."""
    configure_quiet_logging()

    def run(content: str | bytes | Path, *options: str) -> Result:
        path = content if isinstance(content, Path) else tmp_path / "deals.csv"
        if not isinstance(content, Path):
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        return CliRunner(env={"DATABASE_URL": database_url}).invoke(import_deals, [str(path), "--organisation", "Acme", *options])

    return run


@pytest.fixture
def rows(database_url: str) -> Query:
    """`rows(sql)`: what the database says."""

    async def fetch(sql: str) -> Sequence[Any]:
        database = Database(database_url, name="holdfast-test")
        async with database.read() as db:
            found = (await db.execute(text(sql))).all()
        await database.close()
        return found

    return lambda sql: list(blocking(fetch, sql))


def report_of(result: Result) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(result.stdout)
    return report


def test_the_real_file_goes_in_whole(run: Run, rows: Query) -> None:
    result = run(DEMO_FILE, "--json")
    report = report_of(result)
    assert result.exit_code == 0
    assert (report["outcome"], report["rows"], report["imported"], report["organisation_created"]) == ("imported", 1643, 1643, True)
    assert report["warning_counts"] == {"year_mismatch": 16, "malformed_date": 1}
    assert "4//17/2013" in next(warning["message"] for warning in report["warnings"] if warning["line"] == 56)
    assert rows("SELECT count(*), count(DISTINCT acquirer), count(DISTINCT external_ref), count(DISTINCT organisation_id) FROM deals") == [
        (1643, 65, 1643, 1)
    ]
    assert rows("SELECT count(*) FROM deals WHERE acquirer = 'Google'") == [(161,)]
    assert rows("SELECT count(*) FROM deals WHERE announced_on IS NULL") == [(1,)]
    assert rows("SELECT count(*) FROM deals WHERE price_usd IS NULL") == [(1222,)]
    assert rows("SELECT name, stage, price_usd, announced_year, city FROM deals WHERE name = 'Mojang'") == [
        ("Mojang", "diligence", 15_000_000_000, 2014, "Stockholm")
    ]
    assert rows("SELECT count(*) FROM deals WHERE external_ref = 'Adobe Systems acquired Aldus Corp in 1994'") == [(1,)]


def test_the_same_file_twice_changes_nothing(run: Run, rows: Query) -> None:
    run(DEMO_FILE)
    before = rows("SELECT * FROM deals ORDER BY id")
    report = report_of(run(DEMO_FILE, "--json"))
    assert (report["imported"], report["updated"], report["unchanged"], report["organisation_created"]) == (0, 0, 1643, False)
    assert rows("SELECT * FROM deals ORDER BY id") == before


def test_same_file_in_two_organisations_is_two_sets_of_deals(run: Run, rows: Query) -> None:
    content = "Target,Acquirer\nYouTube,Google\n"
    run(content)
    assert report_of(run(content, "--organisation", "Other", "--json"))["imported"] == 1
    assert rows("SELECT count(*), count(DISTINCT organisation_id) FROM deals") == [(2, 2)]


def test_dry_run_writes_nothing_and_says_what_would_be(run: Run, rows: Query) -> None:
    result = run("Target,Acquirer\nYouTube,Google\n", "--dry-run")
    assert result.exit_code == 0
    assert "Would import 1 deals into Acme, a new organisation" in result.stdout
    assert rows("SELECT count(*) FROM organisations") == rows("SELECT count(*) FROM events") == [(0,)]


def test_one_refused_row_refuses_the_file(run: Run, rows: Query) -> None:
    many = "".join(f"Deal {number},Google\n" for number in range(1200))
    result = run(f"Target,Acquirer\n{many},Google\nX,Google,too many\n")
    assert result.exit_code == 1
    assert "2 of 1,202 rows refused" in result.stdout
    assert 'line 1202: "Target" is empty: the target is missing' in result.stdout
    assert "line 1203: it has 3 columns where the heading line has 2" in result.stdout
    assert "Nothing was imported" in result.stdout
    for table in ("deals", "organisations", "events"):
        assert rows(f"SELECT count(*) FROM {table}") == [(0,)]


def test_refused_report_as_json_counts_nothing_as_done(run: Run) -> None:
    result = run("Target,Acquirer\nA,\nB,Google\n", "--json")
    report = report_of(result)
    assert result.exit_code == 1
    assert (report["outcome"], report["imported"], report["refused"]) == ("refused", 0, 1)
    assert report["refusals"] == [{"line": 2, "reason": '"Acquirer" is empty: the acquirer is missing'}]


def test_skip_bad_imports_the_rest(run: Run, rows: Query) -> None:
    result = run("Target,Acquirer\n,Google\nYouTube,Google\n", "--skip-bad")
    assert result.exit_code == 0
    assert "line 2" in result.stdout
    assert rows("SELECT name FROM deals") == [("YouTube",)]


def test_second_row_of_one_deal_is_reported_and_skipped(run: Run, rows: Query) -> None:
    report = report_of(run("Ref,Target,City\nR1,First,Oslo\nR2,Other,\nR1,Second,Bergen\n", "--json"))
    assert (report["imported"], report["skipped"]) == (2, 1)
    assert report["warnings"] == [{"line": 4, "code": "duplicate", "message": '"R1" is already on line 2; this row is skipped'}]
    assert rows("SELECT name FROM deals WHERE external_ref = 'R1'") == [("First",)]


def test_existing_deal_gets_the_facts_that_changed_and_nothing_else(run: Run, rows: Query, database_url: str) -> None:
    run(
        "Ref,Target,Price,City,Date\nR1,First,$5,Oslo,1/2/2014\nR2,Same,$5,Oslo,1/2/2014\nR3,Binned,$5,Oslo,1/2/2014\n",
        "--date-order",
        "day_first",
    )

    async def people_work_on_them() -> None:
        database = Database(database_url, name="holdfast-test")
        async with database.write() as db:
            organisation = await db.scalar(select(Organisation.id))
            user = User(organisation_id=organisation, email="a@acme.example", name="A", password_hash="x", created_at=NOW)
            db.add(user)
            await db.flush()
            await db.execute(
                update(Deal).where(Deal.external_ref == "R1").values(owner_id=user.id, stage="signing", archived_at=NOW, tagline="ours")
            )
            await db.execute(update(Deal).where(Deal.external_ref == "R3").values(deleted_at=NOW))
        await database.close()

    blocking(people_work_on_them)
    report = report_of(
        run(
            "Ref,Target,Price,City,Date\nR1,Renamed,$6,,broken\nR2,Same,$5,Oslo,1/2/2014\nR3,Binned,$7,Oslo,1/2/2014\n",
            "--json",
            "--date-order=Date=day_first",
        )
    )
    assert (report["imported"], report["updated"], report["unchanged"]) == (0, 1, 2)
    assert [warning["code"] for warning in report["warnings"]] == ["malformed_date", "in_bin"]
    changed = "SELECT name, price_usd, city, stage, tagline, version FROM deals WHERE owner_id IS NOT NULL AND archived_at IS NOT NULL"
    assert rows(changed) == [("Renamed", 6, "Oslo", "signing", "ours", 2)]
    assert rows("SELECT announced_on IS NULL, version FROM deals WHERE external_ref <> 'R3' ORDER BY external_ref") == [
        (False, 2),
        (False, 1),
    ]
    assert rows("SELECT price_usd, version FROM deals WHERE deleted_at IS NOT NULL") == [(5, 1)]


def test_renamed_deal_has_its_new_name_in_the_header_of_who_is_on_it(run: Run, rows: Query, database_url: str) -> None:
    run("Ref,Target\nR1,Old\nR2,Other\n")

    async def somebody_is_on_each() -> None:
        database = Database(database_url, name="holdfast-test")
        async with database.read() as db:
            [organisation] = await db.scalars(select(Organisation))
            deals = (await db.scalars(select(Deal).order_by(Deal.external_ref))).all()
        for deal in deals:
            user = await make_user(database, organisation)
            login = await make_login(database, user)
            data = {"current_deal_id": deal.id, "deal": {"id": deal.id, "name": deal.name, "role": "viewer", "access_until": None}}
            async with database.write() as db:
                session = Session(login_id=login.id, user_id=user.id, version=1, data=data, current_deal_id=deal.id)
                session.created_at = session.touched_at = login.created_at
                session.expires_at = login.expires_at
                db.add(session)
        await database.close()

    blocking(somebody_is_on_each)
    assert run("Ref,Target\nR1,New\nR2,Other\n", "--dry-run").exit_code == 0
    data = "SELECT data FROM sessions ORDER BY id"
    assert _names(rows(data)) == ["Old", "Other"]
    assert run("Ref,Target\nR1,New\nR2,Other\n").exit_code == 0
    assert _names(rows(data)) == ["New", "Other"]
    assert rows("SELECT version > 1 FROM sessions ORDER BY id") == [(True,), (False,)]


def _names(found: Sequence[Any]) -> list[str]:
    return [(json.loads(data) if isinstance(data, str) else data)["deal"]["name"] for (data,) in found]


def test_price_that_became_undisclosed_is_taken_back(run: Run, rows: Query) -> None:
    run("Target,Acquirer,Price\nA,B,$5\n")
    assert report_of(run("Target,Acquirer,Price\nA,B,Undisclosed Amount\n", "--json"))["updated"] == 1
    assert rows("SELECT price_usd FROM deals") == [(None,)]


def test_other_headings_semicolons_and_a_mark(run: Run, rows: Query) -> None:
    content = 'Firma;Buyer;Announced;Deal value (USD);Mood\r\n"Zoë\r\nGmbH";Müller & Söhne;15 Sep 2014;"1.234.567,50";glad\r\n'
    result = run(content.encode("utf-8-sig"), "--map", "Firma=target")
    assert result.exit_code == 0
    assert 'unknown heading, ignored: "Mood"' in result.stdout
    assert rows("SELECT name, acquirer, price_usd, external_ref FROM deals") == [
        ("Zoë GmbH", "Müller & Söhne", 1_234_568, "Müller & Söhne|Zoë GmbH|2014")
    ]


def test_windows_text_is_read_with_a_warning(run: Run, rows: Query) -> None:
    result = run("Target,Acquirer\nCafé,Zoë\n".encode("cp1252"), "--json")
    assert "Windows-1252" in result.stderr
    assert report_of(result)["imported"] == 1
    assert rows("SELECT name FROM deals") == [("Café",)]


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("", "The file is empty."),
        ("Target,Acquirer\n", "There are no rows below the heading line."),
        (b"PK\x03\x04\x00\x00", "This is not a text file."),
        ("Buyer,Mood\nA,B\n", "No column holds the name of the target"),
        ("Target,Company\nA,B\n", '"Target" and "Company" both mean the field name'),
        (Path("/nowhere/deals.csv"), "No such file"),
        (Path("/"), "This is a directory."),
        (Path("/dev/null"), "This is not a regular file."),
    ],
)
def test_unusable_file_is_one_clear_line(run: Run, rows: Query, content: str | bytes | Path, line: str) -> None:
    result = run(content)
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: ")
    assert line in result.stderr
    assert result.stderr.count("\n") == 1
    assert rows("SELECT count(*) FROM organisations") == [(0,)]


@pytest.mark.parametrize("options", [("--map", "Nope=name"), ("--map", "Target=owner_id"), ("--map", "Target"), ("--organisation", "  ")])
def test_unusable_option_is_one_clear_line(run: Run, options: tuple[str, ...]) -> None:
    result = run("Target,Acquirer\nA,B\n", *options)
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1


def test_database_without_tables_is_one_clear_line(empty_database_url: str, tmp_path: Path) -> None:
    (tmp_path / "deals.csv").write_text("Target\nA\n")
    command = [sys.executable, "-m", "app", "import", str(tmp_path / "deals.csv"), "--organisation", "Acme"]
    done = subprocess.run(command, env=os.environ | {"DATABASE_URL": empty_database_url}, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: The database")
    assert "organisations" in done.stderr
    assert done.stderr.count("\n") == 1


def test_one_event_tells_of_the_import(run: Run, rows: Query) -> None:
    run("Target,Acquirer\nA,B\nC,D\n,E\n", "--skip-bad")
    [(kind, organisation_id, payload)] = rows("SELECT kind, organisation_id, payload FROM events")
    payload = json.loads(payload) if isinstance(payload, str) else payload
    assert (kind, [(organisation_id,)]) == ("import.finished", rows("SELECT id FROM organisations"))
    assert payload == {"rows": 3, "imported": 2, "updated": 0, "unchanged": 0, "skipped": 0, "refused": 1}
    assert rows("SELECT count(*) FROM outbox") == [(1,)]


MEASURED = """
import resource, sys
from pathlib import Path
from app.imports.commands import import_deals
try:
    import_deals()
finally:
    status = Path("/proc/self/status")
    # Linux counts a parent's memory into ru_maxrss of its child.
    lines = status.read_text().splitlines() if status.exists() else []
    peak = next((int(line.split()[1]) for line in lines if line.startswith("VmHWM")), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    print("peak", peak, file=sys.stderr)
"""


@pytest.mark.slow
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_hundred_thousand_rows_need_no_more_memory_than_a_few(database_url: str, tmp_path: Path, rows: Query) -> None:
    def peak_kib(number: int) -> int:
        file = tmp_path / f"{number}.csv"
        with file.open("w") as out:
            out.write("Target,Acquirer,Date,Price,Tagline\n")
            out.writelines(f'Target {line},Acme,15/02/2014,"$1,234,567",{"tag" * 130}\n' for line in range(number))
        command = [sys.executable, "-c", MEASURED, str(file), "--organisation", f"Of {number}"]
        done = subprocess.run(command, env=os.environ | {"DATABASE_URL": database_url}, capture_output=True, text=True, check=True)
        return int(done.stderr.rpartition("peak ")[2])

    growth = peak_kib(100_000) - peak_kib(1000)
    assert (tmp_path / "100000.csv").stat().st_size > 40 * 1024 * 1024
    assert growth < 32 * 1024
    assert rows("SELECT count(*) FROM deals") == [(101_000,)]


def test_dates_are_dates_in_the_database(run: Run, database_url: str) -> None:
    run("Target,Date\nA,3/07/1905\nB,13/07/1905\n")

    async def announced() -> date | None:
        database = Database(database_url, name="holdfast-test")
        async with database.read() as db:
            found = await db.scalar(select(Deal.announced_on).where(Deal.name == "A"))
        await database.close()
        return found

    assert blocking(announced) == date(1905, 7, 3)


def test_order_of_dates_is_the_columns_or_asked_for(run: Run, rows: Query) -> None:
    result = run("Target,Date\nA,3/4/2014\nB,9/15/2014\n")
    assert result.exit_code == 0
    assert [str(day) for (day,) in rows("SELECT announced_on FROM deals ORDER BY name")] == ["2014-03-04", "2014-09-15"]
    unknown = "Target,Date\nA,3/4/2014\n"
    for content, options, said in (
        (unknown, (), '"3/4/2014" could be either. Pass --date-order day_first or --date-order month_first.'),
        (unknown + "B,13/1/2014\nC,1/13/2014\n", (), '"13/1/2014" on line 3 has the day first, "1/13/2014" on line 4 the month.'),
        (unknown + "B,13/1/2014\n", ("--date-order=month_first",), '"13/1/2014" on line 3 can be nothing else'),
        (unknown, ("--date-order=year_first",), '"year_first" is no date order'),
        (unknown, ("--date-order=When=day_first",), 'no column "When"'),
    ):
        result = run(content, *options)
        assert (result.exit_code, result.stderr.count("\n")) == (2, 1), result.stderr
        assert said in result.stderr
    for order, day in (("day_first", "2014-04-03"), ("date=month_first", "2014-03-04")):
        assert run(unknown, f"--date-order={order}").exit_code == 0
        assert [str(found) for (found,) in rows("SELECT announced_on FROM deals WHERE name = 'A'")] == [day]


def test_workbook_goes_in_by_its_sheet(run: Run, rows: Query) -> None:
    book = openpyxl.Workbook()
    book.active.append(["nothing here"])
    for name, target in (("One", "Nest"), ("Two", "Waze")):
        sheet = book.create_sheet(name)
        for row in ([], ["Target", "Date"], [target, date(2014, 9, 15)], [None, "x"]):
            sheet.append(row)
    file = io.BytesIO()
    book.save(file)
    result = run(file.getvalue(), "--sheet", "Nope")
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert 'no sheet "Nope". The sheets are: Sheet, One, Two' in result.stderr
    for options, name in (((), "Nest"), (("--sheet=Two",), "Waze")):
        report = report_of(run(file.getvalue(), "--skip-bad", "--json", *options))
        assert (report["imported"], [refusal["line"] for refusal in report["refusals"]]) == (1, [4])
        assert [str(day) for (day,) in rows(f"SELECT announced_on FROM deals WHERE name = '{name}'")] == ["2014-09-15"]
