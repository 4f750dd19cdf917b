"""Importing, administration and one's own account in a real browser: with a worker, without a script, for eyes and ears."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from openpyxl import Workbook
from playwright.async_api import Browser, ViewportSize, expect
from sqlalchemy import func, select, update

from app.core.database import Database
from app.models import Deal, Import, User
from tests.browser.visitor import BROWSER_TESTS, DESKTOP, PHONE, Visitor, make_visitor, on_the_loop
from tests.conftest import StartWeb
from tests.factories import make_deal, make_member, make_organisation, make_user
from tests.servers.process import AppProcess, held_directory, remove_directory
from tests.servers.web import ROOT

pytestmark = [*BROWSER_TESTS, pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)]

TABLET = ViewportSize(width=768, height=1024)
REAL = ROOT / "app/demo/data/acquisitions.csv"
BAD = (
    "Acquired Company,Acquiring Company,Year,Deal announced on,Notes\n"
    "Tellme,24/7,2012,13/02/2012,voice\n,Google,2013,,no target\nPalm,HP,2010,13/32/2010,phones\n"
)


class Office:
    """An organisation with an admin and a member, who sees one deal."""

    url: str
    admin: User
    member: User
    deal: Deal


@on_the_loop
async def office(database: Database, start_web: StartWeb) -> Office:
    office = Office()
    organisation = await make_organisation(database, name="Initech")
    office.admin = await make_user(database, organisation, name="Ada Admin", role="admin")
    office.member = await make_user(database, organisation, name="Max Member")
    office.deal = await make_deal(database, organisation, name="Mojang")
    await make_member(database, office.deal, office.member)
    office.url = (await start_web()).url
    return office


@on_the_loop
async def worker(environ: dict[str, str]) -> AsyncIterator[AppProcess]:
    directory = held_directory("worker")
    process = AppProcess("worker", log=directory / "log", cwd=directory, env=environ | {"PYTHONPATH": str(ROOT)})
    yield process
    process.kill()
    remove_directory(directory)


async def sign_in(browser: Browser, office: Office, person: User, **options: object) -> Visitor:
    visitor = await make_visitor(browser, office.url, **options)
    await visitor.sign_in(person.email)
    await visitor.page.wait_for_url(lambda url: "/login" not in url)
    return visitor


async def upload(visitor: Visitor, path: Path) -> None:
    await visitor.open("/imports")
    await visitor.page.get_by_label("An Excel workbook (.xlsx) or a CSV file with headings").set_input_files(path)
    await visitor.page.get_by_role("button", name="Upload and check").click()
    await visitor.page.wait_for_url("**/imports/*")


async def count(database: Database) -> int:
    async with database.read() as db:
        return await db.scalar(select(func.count()).select_from(Deal).where(Deal.import_id.is_not(None))) or 0


async def test_real_export_is_looked_at_imported_and_cancelled_on_the_way(
    browser: Browser, office: Office, worker: AppProcess, database: Database
) -> None:
    admin = await sign_in(browser, office, office.admin)
    page = admin.page
    await upload(admin, REAL)
    await expect(page.get_by_role("heading", level=1)).to_have_text("Check before importing")
    await expect(page.get_by_role("row", name='56 "Deal')).to_contain_text('"Deal announced on" "4//17/2013" is not a date')
    await expect(page.get_by_role("row", name="1435 The date").or_(page.get_by_role("row", name="1435 the date"))).to_contain_text("2104")
    await expect(page.get_by_label("Acquired Company")).to_have_value("name")
    start = page.get_by_role("button", name="Import 1,643 deals")
    # Another column, and what that would do is shown before it is done.
    await page.get_by_label("Tagline").select_option("")
    await expect(start).to_have_count(0)
    await expect(page.get_by_role("button", name="Check again")).to_be_hidden()
    await page.get_by_role("button", name="Check these columns").click()
    await expect(page.get_by_role("status").first).to_contain_text("Nothing is imported yet")
    await expect(page.get_by_label("Tagline")).to_have_value("")
    await start.click()
    # No worker yet: it waits, and can be cancelled.
    await expect(page.get_by_role("heading", level=1)).to_have_text("Waiting to begin")
    await page.get_by_role("button", name="Cancel the import").click()
    await expect(page.get_by_text("Nothing was imported.")).to_be_visible()

    await upload(admin, REAL)
    await start.click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Waiting to begin")
    # By its event stream alone: nobody loads the page again.
    worker.start()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Imported", timeout=30_000)
    assert await count(database) == 1643
    await expect(page.get_by_role("row", name='56 "Deal')).to_contain_text("4//17/2013")
    await page.get_by_role("link", name="Show the 1,643 imported deals").click()
    await expect(page.get_by_role("row")).to_have_count(51)
    await page.get_by_role("link", name="Next page").click()
    await page.wait_for_url("**cursor=*import=*")
    await page.locator("tbody .row-link").first.click()
    await page.wait_for_url("**/overview")
    assert admin.complaints == []


async def test_import_without_a_script_from_the_form_to_the_corrected_rows(
    browser: Browser, office: Office, worker: AppProcess, tmp_path: Path, database: Database
) -> None:
    file = tmp_path / "deals.csv"
    file.write_text(BAD)
    worker.start()
    admin = await sign_in(browser, office, office.admin, java_script_enabled=False)
    page = admin.page
    await upload(admin, file)
    await expect(page.get_by_text('"Acquired Company" is empty: the target is missing')).to_be_visible()
    await page.get_by_role("button", name="Import 2 deals").click()
    async with asyncio.timeout(30):
        while await page.get_by_role("link", name="Show how far it is").count():
            await page.get_by_role("link", name="Show how far it is").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Imported")
    async with page.expect_download() as download:
        await page.get_by_role("link", name="CSV").first.click()
    text = (await (await download.value).path()).read_text()
    assert text.splitlines()[1].startswith("3,")
    assert await count(database) == 2
    await upload(admin, file)
    await expect(page.get_by_role("button", name="Nothing to import")).to_be_disabled()


async def test_workbook_asks_for_its_sheet_and_for_the_order_of_its_dates(browser: Browser, office: Office, tmp_path: Path) -> None:
    book = Workbook()
    for name, days in (("Open", ("3/4/2014", "5/6/2014")), ("Both", ("9/15/2014", "15/9/2014"))):
        sheet = book.create_sheet(name)
        for row in (("Target", "Buyer", "Announced"), ("Nest", "Google", days[0]), ("Waze", "Google", days[1])):
            sheet.append(row)
    file = tmp_path / "deals.xlsx"
    book.save(file)
    admin = await sign_in(browser, office, office.admin)
    page = admin.page
    await upload(admin, file)
    await expect(page.get_by_role("heading", name="Day or month first?")).to_be_visible()
    await expect(page.get_by_text("4 March 2014")).to_be_visible()
    assert await admin.look() == []
    answer = page.get_by_role("button", name="Check with this answer")
    await answer.click()
    await expect(page.get_by_label("Day first")).to_be_focused()
    await page.get_by_label("Month first").check()
    await answer.click()
    await expect(page.get_by_role("button", name="Import 2 deals")).to_be_enabled()
    await page.get_by_label("Sheet of the workbook").select_option("Both")
    await expect(page.get_by_role("heading", name="These dates contradict each other")).to_be_visible()
    assert await admin.look() == []
    assert admin.complaints == []


async def test_somebody_is_invited_joins_and_is_managed(browser: Browser, office: Office) -> None:
    admin = await sign_in(browser, office, office.admin)
    page = admin.page
    await admin.open("/admin/people")
    await page.get_by_label("E-mail", exact=True).fill("new@test.example")
    await page.get_by_role("button", name="Make a link").click()
    address = await page.get_by_label("Give this link to them").input_value()
    await admin.open("/admin/people")
    await expect(page.get_by_label("Give this link to them")).to_have_count(0)
    await expect(page.get_by_text("new@test.example")).to_be_visible()

    newcomer = await make_visitor(browser, office.url, java_script_enabled=False)
    await newcomer.page.goto(address)
    await newcomer.page.get_by_label("Your name").fill("Nora New")
    for label in ("Password", "The password again"):
        await newcomer.page.get_by_label(label, exact=True).fill("a-long-enough-password")
    await newcomer.page.get_by_role("button", name="Join and sign in").click()
    await expect(newcomer.page.get_by_role("heading", level=1)).to_have_text("Deals")
    await newcomer.page.goto(address)
    await expect(newcomer.page.get_by_role("heading", level=1)).to_have_text("This link does not work any more")

    await page.reload()
    await page.get_by_role("link", name="Nora New").click()
    await page.locator("summary", has_text="Make admin").click()
    await page.get_by_role("button", name="Make an admin").click()
    await expect(page.get_by_role("status")).to_contain_text("The role is changed")
    await newcomer.open("/deals")
    await newcomer.page.wait_for_url("**/login**")
    await page.locator("summary", has_text="Disable").click()
    await page.get_by_role("button", name="Disable Nora New").click()
    await expect(page.locator(".person-head")).to_contain_text("Disabled")

    await admin.open(f"/admin/people/{office.member.id}")
    await page.locator("summary", has_text="Withdraw").click()
    await page.get_by_role("button", name="Withdraw the access").click()
    await expect(page.get_by_text("Nothing is shared with them by name.")).to_be_visible()
    await admin.open(f"/admin/people/{office.admin.id}")
    await page.locator("summary", has_text="Make member").click()
    await page.get_by_role("button", name="Make a member").click()
    # Nora is an admin, but a disabled one.
    await expect(page.get_by_role("alert")).to_contain_text("This is the last administrator")
    assert admin.complaints == newcomer.complaints == []


async def test_own_account_is_kept_without_a_script(browser: Browser, office: Office) -> None:
    other = await sign_in(browser, office, office.member)
    member = await sign_in(browser, office, office.member, java_script_enabled=False)
    page = member.page
    await member.open("/settings")
    await page.get_by_role("link", name="Profile").click()
    await page.get_by_label("Name", exact=True).fill("Maxine Member")
    await page.get_by_role("button", name="Save name").click()
    await expect(page.get_by_label("Your menu, Maxine Member")).to_be_visible()
    for label, text in (
        ("Current password", "wrong-wrong-wrong"),
        ("New password", "a-new-long-password"),
        ("New password again", "a-new-long-password"),
    ):
        await page.get_by_label(label, exact=True).fill(text)
    await page.get_by_role("button", name="Change password").click()
    await expect(page.get_by_role("alert")).to_contain_text("The current password is not right.")
    await expect(page.get_by_label("Current password", exact=True)).to_be_focused()
    await page.get_by_role("link", name="Devices").click()
    await expect(page.get_by_text("This device", exact=True)).to_be_visible()
    await expect(page.get_by_text("Your last sign-in before this one")).to_be_visible()
    await page.get_by_role("button", name="Sign out all others").click()
    await expect(page.get_by_role("status")).to_have_text("All other devices are signed out.")
    await other.open("/deals")
    await other.page.wait_for_url("**/login**")
    await page.get_by_role("button", name="this device").click()
    await page.wait_for_url("**/login")


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
async def test_every_page_is_accessible_fits_and_is_silent(
    browser: Browser, office: Office, database: Database, tmp_path: Path, size: ViewportSize
) -> None:
    visitor = await sign_in(browser, office, office.admin, viewport=size, reduced_motion="reduce")
    page, found = visitor.page, dict[str, list[str]]()

    async def look(name: str) -> None:
        await page.emulate_media(color_scheme="light")
        found[name] = await visitor.axe()
        await page.emulate_media(color_scheme="dark")
        found[name] += await visitor.axe()
        assert not await visitor.overflows(), name

    await visitor.open("/imports")
    await look("no imports")
    for name, text in (("bad", BAD), ("odd", "Firma\nNest\n"), ("text", "\x00\x01 no table")):
        file = tmp_path / f"{name}.csv"
        file.write_text(text)
        await visitor.open("/imports")
        await page.get_by_label("A CSV file").set_input_files(file)
        await page.get_by_role("button", name="Upload and check").click()
        await page.get_by_role("alert").or_(page.locator("[data-columns]")).first.wait_for()
        await look(f"upload {name}")
    await visitor.open("/imports/1")
    await page.locator("[data-start]").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Waiting to begin")
    for state in ("running", "stands still", "done", "failed", "cancelled"):
        # A page that follows an import loads itself again when that is over; it must not do so while another is opened.
        await page.goto("about:blank")
        async with database.write() as db:
            counts = {"rows": 3, "imported": 2, "updated": 0, "unchanged": 0, "skipped": 0, "refused": 1, "warnings": 1}
            values: dict[str, object] = {"state": state, "counts": counts, "position": 60}
            if state == "stands still":
                values |= {"state": "running", "updated_at": datetime.now(UTC) - timedelta(hours=1)}
            await db.execute(update(Import).where(Import.id == 1).values(**values))
        await visitor.open("/imports/1")
        await look(state)
        if state == "stands still":
            # The stream has told meanwhile that it is "running".
            await expect(page.get_by_text("Nothing has been written for a while.")).to_be_visible()
    addresses = ("/imports", "/deals?import=1", "/admin/people", "/admin/people?q=zebra", f"/admin/people/{office.member.id}")
    for address in (*addresses, "/admin/restore", "/settings", "/settings/profile", "/settings/devices", "/link?token=x"):
        await visitor.open(address)
        await look(address)
    await visitor.open("/settings/profile")
    for label in ("Current password", "New password", "New password again"):
        await page.get_by_label(label, exact=True).fill("a-long-enough-password")
    await page.get_by_role("button", name="Change password").click()
    await expect(page.get_by_label("Current password", exact=True)).to_be_focused()
    await look("wrong password")
    await visitor.open("/admin/people")
    await page.get_by_label("E-mail", exact=True).fill(office.member.email)
    await page.get_by_role("button", name="Make a link").click()
    await expect(page.get_by_label("E-mail", exact=True)).to_be_focused()
    await look("invited twice")
    await page.set_viewport_size(TABLET)
    await visitor.open("/imports")
    column = await page.get_by_role("columnheader", name="File").bounding_box()
    assert column is not None
    assert column["width"] > 200, "beside the other columns"
    await page.set_viewport_size(size)
    await visitor.open(f"/admin/people/{office.member.id}")
    await page.locator("summary", has_text="Disable").click()
    await look("confirm")
    await page.get_by_role("button", name="Make a link").click()
    await page.goto(await page.get_by_label("Give this link to them").input_value())
    await look("link")
    assert not {name: problems for name, problems in found.items() if problems}
    assert visitor.complaints == []
