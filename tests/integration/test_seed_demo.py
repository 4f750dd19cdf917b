"""`holdfast seed-demo`: what it lays out, and what it leaves alone the next time."""

import json
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import text

from app.auth.passwords import verify_password
from app.core.config import load_settings
from app.core.database import Database
from app.demo.commands import seed_demo
from app.demo.seed import DEMO_PASSWORD, read_demo
from app.imports.commands import import_deals
from app.models import STAGES
from tests.servers.blocking import blocking

Sql = Callable[[str], Sequence[Any]]
CHEAP = {"PASSWORD_TIME_COST": "1", "PASSWORD_MEMORY_KIB": "8"}


@pytest.fixture
def seed(database_url: str) -> Callable[..., Result]:
    def seed(*options: str, **environ: str) -> Result:
        return CliRunner(env={"DATABASE_URL": database_url, **CHEAP, **environ}).invoke(seed_demo, options)

    return seed


@pytest.fixture
def sql(database_url: str) -> Sql:
    """Run a statement; the rows it gives, if any."""

    async def run(statement: str) -> Sequence[Any]:
        database = Database(database_url, name="holdfast-test")
        async with database.write() as db:
            result: Any = await db.execute(text(statement))
            found = result.all() if result.returns_rows else []
        await database.close()
        return list(found)

    return lambda statement: list(blocking(run, statement))


def everything(sql: Sql) -> list[Sequence[Any]]:
    tables = ("organisations", "users", "deals", "events", "findings", "checklist_items")
    return [sql(f"SELECT * FROM {table} ORDER BY id") for table in tables] + [
        sql("SELECT deal_id, user_id, role FROM members ORDER BY 1, 2")
    ]


def test_every_acquirer_is_an_organisation_and_every_acquisition_a_deal(seed: Callable[..., Result], sql: Sql) -> None:
    result = seed("--json")
    assert result.exit_code == 0, result.output
    added = json.loads(result.stdout)
    assert (added["organisations"], added["deals"], added["people"], len(added["warnings"])) == (66, 1643, 9, 17)
    assert [warning["line"] for warning in added["warnings"] if warning["code"] == "malformed_date"] == [56]

    sizes = dict(sql("SELECT o.name, count(*) FROM deals d JOIN organisations o ON o.id = d.organisation_id GROUP BY o.name"))
    assert (len(sizes), sizes["Google"], sizes["Microsoft"], sum(sizes.values())) == (65, 161, 136, 1643)
    assert sql("SELECT count(*) FROM organisations") == [(66,)]
    assert sql("SELECT count(*) FROM deals d JOIN organisations o ON o.id = d.organisation_id WHERE o.name <> d.acquirer") == [(0,)]
    assert sql("SELECT count(DISTINCT external_ref) FROM deals") == [(1643,)]
    assert sql("SELECT name FROM deals WHERE external_ref = 'Microsoft acquired Mojang in 2014'") == [("Mojang",)]


def test_people_and_their_parts(seed: Callable[..., Result], sql: Sql) -> None:
    seed()
    people = sql("SELECT email, o.name, role, is_operator FROM users u JOIN organisations o ON o.id = u.organisation_id ORDER BY email")
    assert [(email, organisation, role, bool(is_operator)) for email, organisation, role, is_operator in people] == [
        ("admin@google.example", "Google", "admin", False),
        ("admin@microsoft.example", "Microsoft", "admin", False),
        ("analyst@google.example", "Google", "member", False),
        ("analyst@microsoft.example", "Microsoft", "member", False),
        ("lead@google.example", "Google", "member", False),
        ("lead@microsoft.example", "Microsoft", "member", False),
        ("nobody@microsoft.example", "Microsoft", "member", False),
        ("operator@holdfast.example", "Holdfast", "member", True),
        ("solo@microsoft.example", "Microsoft", "member", False),
    ]


def test_everybody_signs_in_with_the_demo_password(seed: Callable[..., Result], sql: Sql) -> None:
    seed()
    settings = load_settings({}).model_copy(update={"password_time_cost": 1, "password_memory_kib": 8})
    hashes = [row.password_hash for row in sql("SELECT password_hash FROM users")]
    assert len(set(hashes)) == 9
    for stored in hashes:
        assert blocking(verify_password, stored, DEMO_PASSWORD, settings)


def test_deals_are_in_every_stage_and_some_are_worked_in(seed: Callable[..., Result], sql: Sql) -> None:
    seed()
    stages = "SELECT d.stage, count(*) FROM deals d JOIN organisations o ON o.id = d.organisation_id WHERE o.name = '{}' GROUP BY 1"
    assert dict(sql(stages.format("Google"))) == {"sourcing": 5, "diligence": 10, "negotiation": 6, "signing": 5, "closed": 135}
    assert set(dict(sql(stages.format("Microsoft")))) == set(STAGES)
    of = "SELECT d.name, count(*) FROM {} w JOIN deals d ON d.id = w.deal_id WHERE {} GROUP BY 1 ORDER BY 1"
    assert sql(of.format("findings", "1=1")) == [("Mojang", 3), ("YouTube", 5), ("Zync Render", 3)]
    assert [name for name, count in sql(of.format("checklist_items", "done_at IS NULL")) if count > 5] == [
        "Mojang",
        "YouTube",
        "Zync Render",
    ]
    assert sql(of.format("checklist_items", "done_at IS NOT NULL")) == [("Mojang", 6), ("YouTube", 8), ("Zync Render", 5)]
    # Who has something to do there sees the deal.
    blind = (
        "SELECT count(*) FROM {} w JOIN deals d ON d.id = w.deal_id JOIN users u ON u.id = w.owner_id WHERE d.owner_id <> u.id "
        "AND u.role <> 'admin' AND NOT EXISTS (SELECT 1 FROM members m WHERE m.deal_id = d.id AND m.user_id = u.id AND m.role = 'editor')"
    )
    assert sql(blind.format("findings")) == sql(blind.format("checklist_items")) == [(0,)]


def test_lead_owns_the_even_years_and_admin_the_odd(seed: Callable[..., Result], sql: Sql) -> None:
    seed()
    owned = "SELECT u.email, d.announced_year % 2, count(*) FROM deals d JOIN users u ON u.id = d.owner_id GROUP BY 1, 2 ORDER BY 1"
    by_owner = sql(owned)
    assert [(email, odd) for email, odd, _ in by_owner] == [
        ("admin@google.example", 1),
        ("admin@microsoft.example", 1),
        ("lead@google.example", 0),
        ("lead@microsoft.example", 0),
    ]
    assert sum(count for *_, count in by_owner) == 161 + 136


@pytest.mark.parametrize(
    ("email", "newest", "next_newest"),
    [
        ("analyst@google.example", "Google acquired Lynx Design in 2014", "Google acquired Alpental Technologies in 2014"),
        ("analyst@microsoft.example", "Microsoft acquired Mojang in 2014", "Microsoft acquired R2 Studios in 2013"),
    ],
)
def test_analyst_edits_the_ten_newest_and_views_the_next_five(
    seed: Callable[..., Result], sql: Sql, email: str, newest: str, next_newest: str
) -> None:
    seed()
    grants = dict(
        sql(
            "SELECT d.external_ref, m.role FROM members m JOIN deals d ON d.id = m.deal_id "
            f"JOIN users u ON u.id = m.user_id WHERE u.email = '{email}'"
        )
    )
    assert sorted(grants.values()) == ["editor"] * 10 + ["viewer"] * 5
    assert (grants[newest], grants[next_newest]) == ("editor", "viewer")


def test_solo_views_mojang_and_nobody_nothing(seed: Callable[..., Result], sql: Sql) -> None:
    seed()
    grants = "SELECT d.name, m.role FROM members m JOIN deals d ON d.id = m.deal_id JOIN users u ON u.id = m.user_id WHERE u.email = '{}'"
    assert sql(grants.format("solo@microsoft.example")) == [("Mojang", "viewer")]
    assert sql(grants.format("nobody@microsoft.example")) == []


def test_second_run_leaves_everything_as_people_have_it(seed: Callable[..., Result], sql: Sql) -> None:
    seed()
    sql("UPDATE users SET password_hash = 'changed', remember_last_deal = false WHERE email = 'analyst@google.example'")
    sql("UPDATE users SET last_deal_id = (SELECT min(id) FROM deals) WHERE email = 'lead@google.example'")
    sql("DELETE FROM members WHERE user_id = (SELECT id FROM users WHERE email = 'solo@microsoft.example')")
    sql("UPDATE deals SET archived_at = created_at, price_usd = 1 WHERE name = 'Mojang'")
    sql("UPDATE deals SET deleted_at = created_at WHERE name = 'Skype'")
    sql("DELETE FROM users WHERE email = 'nobody@microsoft.example'")
    before = everything(sql)
    result = seed()
    assert (result.exit_code, result.stdout) == (0, "Demo data: already there.\n")
    assert everything(sql) == before


def test_organisation_that_is_missing_is_laid_out_alone(seed: Callable[..., Result], sql: Sql) -> None:
    seed()
    sql("UPDATE organisations SET name = 'Renamed' WHERE name = 'Sony'")
    added = json.loads(seed("--json").stdout)
    assert (added["organisations"], added["deals"], added["people"]) == (1, 4, 0)


def test_organisation_somebody_made_before_keeps_its_deals(
    seed: Callable[..., Result], sql: Sql, database_url: str, tmp_path: Path
) -> None:
    reference = "Microsoft acquired Mojang in 2014"
    (tmp_path / "own.csv").write_text(f"Ref,Target,City\n{reference},Our Mojang,Oslo\nX,Own,\n")
    CliRunner(env={"DATABASE_URL": database_url}).invoke(import_deals, [str(tmp_path / "own.csv"), "--organisation", "Microsoft"])
    added = json.loads(seed("--json").stdout)
    assert (added["deals"], added["people"]) == (1642, 9)
    assert sql(f"SELECT name, city, owner_id FROM deals WHERE external_ref = '{reference}'") == [("Our Mojang", "Oslo", None)]
    assert seed().stdout == "Demo data: already there.\n"


def test_production_refuses_it(seed: Callable[..., Result], sql: Sql) -> None:
    production = {"HOLDFAST_ENV": "production", "SECRET_KEY": secrets.token_hex(), "ALLOWED_HOSTS": "holdfast.example"}
    result = seed(**production, PASSWORD_TIME_COST="2", PASSWORD_MEMORY_KIB="19456")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "refused while HOLDFAST_ENV=production" in result.stderr
    assert sql("SELECT count(*) FROM organisations") == [(0,)]


def test_every_organisation_is_marked_by_one_event(seed: Callable[..., Result], sql: Sql) -> None:
    seed()
    assert sql("SELECT kind, count(*) FROM events GROUP BY kind ORDER BY kind") == [("import.finished", 66), ("user.added", 9)]
    assert sql("SELECT count(*) FROM outbox") == [(75,)]


def test_demo_has_one_organisation_for_the_operator() -> None:
    assert read_demo().rows["Holdfast"] == []
