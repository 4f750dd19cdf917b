"""Somebody at work: pages of the deal they are on, now and then the list or a search, seldom another deal."""

import random
import time
from typing import Any

import gevent
from browsers import Browser, Browsers
from locust import FastHttpUser, between, task
from thresholds import Seen

SEEN = Seen()
# A reader looks at a page for some seconds; scripts on the page ask meanwhile.
THINK_SECONDS = (1, 5)
# Of a hundred things that somebody does.
WARM, LIST, SELECT = 90, 8, 2
PAGES = ("overview", "findings", "checklist", "team", "activity")
WORDS = ("maps", "video", "cloud", "studio", "ai", "mobile")
# As many keep the stream of news open: the tab in the foreground does, others do not.
WITH_STREAM = 0.5
# A working day has some eight hundred of these steps.
SIGN_OUT_AGAIN = 0.002


class Person(FastHttpUser):
    wait_time = between(*THINK_SECONDS)
    browsers: Browsers
    network_timeout = connection_timeout = 30.0
    max_redirects = 3

    def on_start(self) -> None:
        """Another browser of the next account, or where that has as many as one account may, another tab in one of them."""
        self.browser: Browser = self.browsers.next_tab()
        self.client.cookiejar = self.client.client.cookiejar = self.browser.cookies
        self.deals: list[int] = []
        self.chosen: int | None = None
        if self.browser.tabs == 1:
            self._sign_in()
        else:
            self._open_tab()
        if random.random() < WITH_STREAM and self.browser.takes_stream():
            self.stream = gevent.spawn(self._keep_stream)

    def on_stop(self) -> None:
        if stream := getattr(self, "stream", None):
            stream.kill()

    @task(WARM)
    def look(self) -> None:
        if self.chosen is None:
            self._ask("GET", "/deals", "/deals (nobody's)")
        elif random.random() < 0.5:
            self._ask_current()
        else:
            self._ask("GET", f"/deals/{self.chosen}/{random.choice(PAGES)}", "/deals/<id>/<page>")
        if random.random() < SIGN_OUT_AGAIN and self.browser.tabs == 1:
            self._ask("POST", "/api/auth/logout", "sign out")
            self._sign_in()

    @task(LIST)
    def search(self) -> None:
        asked = random.choice(("/deals", f"/deals?q={random.choice(WORDS)}", "/api/deals/list?limit=20", "/deals/board"))
        self._ask("GET", asked, asked.partition("?")[0])

    @task(SELECT)
    def select(self) -> None:
        if not self.deals:
            return self.search()
        deal = random.choice(self.deals)
        answer = self._ask("POST", f"/api/deals/{deal}/select", "/api/deals/<id>/select")
        SEEN.selections += 1
        if answer is None:
            SEEN.selection_errors += 1
        else:
            self.chosen = deal
        return None

    def _sign_in(self) -> None:
        account = self.browser.account
        credentials = {"email": account.email, "password": account.password}
        # A server that has too much to do says so, and people try again.
        while self._ask("POST", "/api/auth/login", "sign in", json=credentials) is None:
            gevent.sleep(random.uniform(*THINK_SECONDS))
        self.browser.signed_in.set()
        self._open_tab()

    def _open_tab(self) -> None:
        """The list, which tells the current deal, too. Whoever has none but could have one chooses."""
        self.browser.signed_in.wait(timeout=60)
        answer = self._ask("GET", "/api/deals/list?limit=20", "/api/deals/list")
        if answer is not None:
            listed = answer.json()
            self.deals, self.chosen = [deal["id"] for deal in listed["deals"]], listed["current_deal_id"]
        if self.chosen is None and self.deals:
            self.select()

    def _ask_current(self) -> None:
        """Whoever chose a deal is on it, and the workspace leads to it rather than to "choose a deal"."""
        answer = self._ask("GET", "/api/deals/current", "/api/deals/current")
        if answer is not None and (answer.json()["deal"] or {}).get("id") is None:
            SEEN.lost_places += 1
        answer = self._ask("GET", "/workspace", "/workspace", allow_redirects=False)
        if answer is not None and answer.status_code == 200:
            SEEN.lost_places += 1

    def _ask(self, method: str, path: str, name: str, **options: Any) -> Any:
        """The answer, or None where it was a refusal or did not come; either is in Locust's report."""
        with self.client.request(method, path, name=name, catch_response=True, **options) as answer:
            if answer.status_code and answer.status_code < 400:
                answer.success()
                SEEN.answers += 1
                return answer
            answer.failure(f"{answer.status_code}")
        return None

    def _keep_stream(self) -> None:
        """Open again when it ends, like a browser."""
        while True:
            began = time.monotonic()
            with self.client.get(
                "/api/events", name="/api/events (open)", stream=True, headers={"Accept": "text/event-stream"}, catch_response=True
            ) as answer:
                answer.success() if answer.status_code == 200 else answer.failure(f"{answer.status_code}")
                if answer.status_code == 200:
                    self._read(answer)
            gevent.sleep(max(3 - (time.monotonic() - began), 0.5))

    @staticmethod
    def _read(answer: Any) -> None:
        try:
            while answer.raw is not None and answer.raw.read(1):
                pass
        except Exception:  # it timed out or was cut: the next one is opened
            pass
