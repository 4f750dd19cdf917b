"""Random walks of one person with two browsers while everything breaks: are they always back where they were, with all they typed?

    python -m tests.browser.walks [--walks 1000] [--seed N] [--together 4]

Each walk has a seed of its own, which says what breaks and which steps are taken: `--seed 17 --walks 1` repeats one. Ends with 1
where any of them failed.
"""

import argparse
import asyncio
import random
import sys
import time

from tests.browser.walks.run import walk_all
from tests.browser.walks.stage import running_stage
from tests.servers.chromium import MISSING, find_chromium, running_browser
from tests.servers.postgresql import private_postgres


def main() -> int:
    parser = argparse.ArgumentParser(description="Random walks through everything that breaks, against a plain model.")
    parser.add_argument("--walks", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--together", type=int, default=4, help="how many walk at the same time")
    arguments = parser.parse_args()
    executable = find_chromium()
    if executable is None:
        sys.exit(MISSING)
    began = time.monotonic()
    with private_postgres() as server:
        server.prepare()
        with running_stage(server.create_database()) as stage:

            async def walk() -> str:
                async with running_browser(executable) as browser:
                    report = await walk_all(stage, browser, range(arguments.seed, arguments.seed + arguments.walks), arguments.together)
                await stage.database.close()
                passed.append(not report.astray)
                return str(report)

            passed: list[bool] = []
            sys.stdout.write(f"{asyncio.run(walk())}\n  {time.monotonic() - began:.0f} s\n")
    return int(not all(passed))


if __name__ == "__main__":
    sys.exit(main())
