"""Makes Holdfast's database: tables, the people of the kit, and two deals that they see. The deals' numbers go into deals.json."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

from environment import NAMES, PASSWORD, address, prepare_environment

SITE = Path(os.environ["SITE_DIR"])
HOLDFAST = [sys.executable, "-m", "app"]


async def make_deals() -> list[int]:
    # Reads the settings when it is imported.
    from app.asgi import app

    async with app.test_app() as running:
        client = running.test_client()
        await client.post("/api/auth/login", json={"email": address("writer"), "password": PASSWORD})
        answers = [await client.post("/api/deals", json={"name": name}) for name in ("Alder", "Beech")]
        return [(await answer.get_json())["deal"]["id"] for answer in answers]


prepare_environment()
subprocess.run([*HOLDFAST, "migrate"], cwd=SITE, check=True, stdout=subprocess.DEVNULL)
for each in NAMES:
    person = [address(each), "--name", each.title(), "--organisation", "Comparison", "--admin", "--password-stdin"]
    subprocess.run([*HOLDFAST, "user", "add", *person], cwd=SITE, check=True, input=f"{PASSWORD}\n", text=True, stdout=subprocess.DEVNULL)
(SITE / "deals.json").write_text(json.dumps(asyncio.run(make_deals())))
