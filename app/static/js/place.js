// Where the person is on this page: kept on the server for every device, and brought back. The server has already filtered and
// opened what it should; the rest is the row that was in sight, and the field that had the cursor.
//
// A tab keeps its own place beside that, so that two tabs do not move each other, and one for each entry of its history: reloads, back and
// forward are the browser's, which knows how far a page was scrolled, but not which row that was.

const script = document.getElementById("place").dataset;
const { root } = document.documentElement.dataset;
const STILL = 1000; // ms without a move
const PAUSE = 2000; // ms between two writes, unless the page is left
const RETRY = 10_000;
const MARKED = 2500;
const NEXT = 5; // rows to fall back on
const TABS_PLACES = 100;
const TAB = `holdfast${root}:place:${script.user}`;

const left = JSON.parse(script.left);
const isRestored = "query" in left; // the address did not say more
const path = location.pathname.slice(root.length);
const since = history.state?.since ?? Date.now(); // names this entry of the history
const below = path.split("/").slice(3);
const isOf = (word) => script.deal && below.find((part) => word.test(part));
const item = Number(isOf(/^\d+$/)) || null;
const form = isOf(/^(new|edit|order)$/) || "";
const rows = [...document.querySelectorAll("[data-row]")];

// The list's filters, as the server says them or else the address. "all" and what was done are no filters.
const TOLD = ["all", "done", "undo", "number", "moved", "saved", "deleted", "first", "last", "role", "until", "section", "move"];
const query = new URLSearchParams(isRestored ? left.query : location.search);
for (const name of TOLD) query.delete(name);
query.sort();

const memory = {
  read() {
    try {
      return JSON.parse(sessionStorage.getItem(TAB)) ?? {};
    } catch {
      return {};
    }
  },
  write(place) {
    const { [path]: _, [since]: __, ...others } = this.read();
    const places = [...Object.entries(others).slice(2 - TABS_PLACES), [path, place], [since, place]];
    try {
      sessionStorage.setItem(TAB, JSON.stringify(Object.fromEntries(places)));
    } catch {
      // no room, or not allowed here: the server's will do
    }
  },
};

// The lower edge of what stays in sight.
const edge = () => document.querySelector(".bar").offsetHeight;

function anchor() {
  if (scrollY < 1 && !document.querySelector(".board")?.scrollLeft) return null;
  const top = edge();
  const boxes = rows.map((row) => row.getBoundingClientRect());
  const at = boxes.findIndex((box) => box.bottom > top + 1 && box.right > 1);
  if (at < 0) return null;
  const out = Math.min(Math.max((top - boxes[at].top) / boxes[at].height, 0), 1);
  const [row, ...next] = rows.slice(at, at + 1 + NEXT).map((each) => Number(each.dataset.row));
  return { row, next, out: Math.round(out * 100) / 100 };
}

const isField = (field) => field.name && field.matches("main :is(input, textarea, select):not([type=checkbox], [type=radio], [type=password])");

function focus() {
  const field = document.activeElement;
  if (!field || !isField(field)) return null;
  return { name: field.name, start: field.selectionStart ?? null, end: field.selectionEnd ?? null };
}

function comeBack(to) {
  const id = [to.row, ...(to.next ?? [])].find((each) => rows.some((row) => Number(row.dataset.row) === each));
  const row = rows.find((each) => Number(each.dataset.row) === id);
  if (!row) return;
  row.scrollIntoView({ block: "nearest", inline: "nearest", behavior: "instant" });
  const box = row.getBoundingClientRect();
  const out = id === to.row ? to.out * box.height : 0;
  scrollTo({ top: scrollY + box.top + out - edge(), behavior: "instant" });
  row.classList.add("row-back");
  setTimeout(() => row.classList.remove("row-back"), MARKED);
}

function takeFocus({ name, start, end }) {
  const field = [...document.getElementsByName(name)].find(isField);
  if (!field || document.activeElement !== document.body) return;
  field.focus({ preventScroll: isRestored });
  if (start !== null && field.setSelectionRange) {
    try {
      field.setSelectionRange(start, end);
    } catch {
      // a field without a text in it, such as a number
    }
  }
}

// The browser has brought back how far it was scrolled. Another row stands there by now where a notice has gone, and it is the top where
// something else was shown at this address meanwhile, as in an outage. Nobody is moved who has begun to scroll.
function comeBackOnceLoaded(to) {
  let isMoved = false;
  const begun = () => (isMoved = true);
  const signs = ["wheel", "touchmove", "pointerdown", "keydown"];
  for (const sign of signs) addEventListener(sign, begun, { passive: true });
  const look = () =>
    requestAnimationFrame(() => {
      for (const sign of signs) removeEventListener(sign, begun);
      if (!isMoved && anchor()?.row !== to.row) comeBack(to);
      isBack = true;
      moved();
    });
  isBack = false;
  if (document.readyState === "complete") look();
  else addEventListener("load", look);
}

// The tab's own list, where the server's is that of another tab or of later; returns whether the page is on its way to it.
function restore() {
  const how = performance.getEntriesByType("navigation")[0]?.type;
  // A reload, back and forward lead to what this entry of the history showed, whatever was seen of the list since.
  const before = how === "navigate" ? undefined : history.state?.list;
  const own = memory.read()[path];
  const shown = query.toString();
  const wanted = before ?? own?.query ?? shown;
  if (isRestored && wanted !== shown) {
    const said = new URLSearchParams(location.search);
    for (const [name, value] of new URLSearchParams(wanted || "all")) said.set(name, value);
    location.replace(`${root}${path}?${said}${location.hash}`);
    return true;
  }
  let address;
  if (isRestored && shown) {
    // Said by the address from here on, for this tab's reload, back and forward, and for whom it is sent to.
    const said = new URLSearchParams(location.search);
    for (const [name, value] of query) said.set(name, value);
    address = `${root}${path}?${said}${location.hash}`;
  }
  if (!item && !form) history.replaceState({ ...history.state, list: shown, since }, "", address);
  const then = before === undefined ? own : memory.read()[since];
  const to = then?.query === shown ? then.anchor : isRestored && before === undefined ? left.anchor : null;
  if (location.hash && before === undefined) return;
  if (to) (how === "navigate" ? comeBack : comeBackOnceLoaded)(to);
  if (before !== undefined) return;
  if (left.focus) takeFocus(left.focus);
}

// Keeping it

let seen = false; // nobody has seen a page that was prefetched or opened in the background
let isBack = true; // at its row, if there is one to come back to
let movedAt = Date.now();
let kept = "";
let keptAt = 0;
let timer;

function place() {
  const about = { page: script.page, deal_id: Number(script.deal) || null, item_id: item, form, focus: focus() };
  return item || form ? about : { ...about, listing: { query: Object.fromEntries(query), anchor: anchor() } };
}

async function keep() {
  clearTimeout(timer);
  if (!seen || !isBack) return;
  const now = place();
  if (now.listing) memory.write({ query: query.toString(), anchor: now.listing.anchor });
  const said = JSON.stringify(now);
  if (said === kept) return;
  [kept, keptAt] = [said, Date.now()];
  const body = JSON.stringify({ ...now, ago_ms: Math.min(Date.now() - movedAt, 24 * 3600_000) });
  const options = { method: "PUT", keepalive: true, headers: { "Content-Type": "application/json" }, body };
  const answer = await fetch(`${root}/api/place`, options).catch(() => null);
  if (!answer || answer.status === 429 || answer.status >= 500) {
    kept = "";
    timer = setTimeout(keep, RETRY);
  } else if (!answer.ok) seen = false; // signed out, or no longer theirs to see
}

function moved() {
  if (document.visibilityState !== "visible" || document.prerendering) return;
  movedAt = Date.now();
  clearTimeout(timer);
  timer = setTimeout(keep, Math.max(STILL, keptAt + PAUSE - movedAt));
}

function show() {
  if (document.visibilityState !== "visible" || document.prerendering) return void keep();
  seen = true;
  kept = ""; // another tab may have been seen meanwhile
  moved();
}

if (!restore()) {
  for (const sign of ["scroll", "focusin", "focusout", "selectionchange"]) document.addEventListener(sign, moved, { passive: true, capture: true });
  for (const sign of ["visibilitychange", "prerenderingchange"]) document.addEventListener(sign, show);
  addEventListener("pagehide", keep);
  document.addEventListener("holdfast:leaving", ({ detail }) => detail.waits.push(keep()));
  document.addEventListener("holdfast:left", () => {
    seen = false;
    sessionStorage.removeItem(TAB);
  });
  show();
}
