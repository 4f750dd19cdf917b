// The order of the checklist: an item goes elsewhere by its handle, or by Alt and an arrow while the focus is in its row. It stands
// there at once and is sent as one POST, "after this one, in that section"; what is refused goes back, with the reason. Without this
// file there is a page with buttons.

const shell = document.getElementById("shell");
const { announce, toast } = await import(shell.src);
const { hear, reasonOf, recount } = await import(document.getElementById("in-place").src);
const { root } = document.documentElement.dataset;
const PATIENCE = 15_000; // ms until an answer is not waited for any longer
const EDGE = 96; // px from the edges of the window, where it scrolls while an item is dragged
const main = document.getElementById("main");
const lists = () => [...document.querySelectorAll("[data-section]")];
const known = new WeakMap(); // where the server has a row that is on its way
let queue = Promise.resolve(); // moves go one after the other

const placeOf = (row) => ({ list: row.parentElement, after: row.previousElementSibling });
const isAt = (row, { list, after }) => row.parentElement === list && row.previousElementSibling === after;

function put(row, { list, after }) {
  const focused = row.contains(document.activeElement) && document.activeElement;
  const from = row.parentElement;
  list.insertBefore(row, after?.parentElement === list ? after.nextElementSibling : list.firstElementChild);
  if (focused) focused.focus();
  for (const each of new Set([from, list])) recount(each.closest("section"));
}

function move(row, to, isUndo = false) {
  if (isAt(row, to)) return;
  if (!known.has(row)) known.set(row, placeOf(row));
  put(row, to);
  row.scrollIntoView({ block: "nearest" });
  queue = queue.then(() => save(row, isUndo));
}

// What a row follows. A section with nothing else in it, which the server does not have, comes after that of another row.
function followed(row) {
  const { list, after } = placeOf(row);
  const before = lists().slice(0, lists().indexOf(list)).findLast((each) => each.lastElementChild);
  return list.childElementCount > 1 ? after : before?.lastElementChild;
}

async function save(row, isUndo) {
  const home = known.get(row);
  if (!home || isAt(row, home)) return known.delete(row); // sent with an earlier one, or back again
  const to = placeOf(row);
  const body = JSON.stringify({ after: Number(followed(row)?.dataset.row) || null, section: to.list.dataset.section });
  const headers = { "Content-Type": "application/json" };
  // keepalive: a person who moves on at once has moved it all the same.
  const options = { method: "POST", headers, body, keepalive: true, signal: AbortSignal.timeout(PATIENCE) };
  const answer = await fetch(`${root}/api/deals/${shell.dataset.deal}/checklist/${row.dataset.row}/move`, options).catch(() => null);
  const said = await answer?.json().catch(() => null);
  if (answer?.ok && said) {
    if (isAt(row, to)) known.delete(row);
    else known.set(row, to); // it went on meanwhile, which is sent next
    hear(row, said.item);
    const text = `Moved to ${said.place} of ${said.of} in ${said.item.section}`;
    if (isUndo) return announce(text);
    return toast(text, { kind: "changed", actions: [["Undo", () => undo(row, home)]], brief: true });
  }
  known.delete(row);
  put(row, home);
  const text = `“${row.querySelector(".todo-title").textContent}” is not moved. ${reasonOf({ status: answer?.status ?? 0, said })}`;
  const isStale = [401, 403, 404, 409].includes(answer?.status);
  toast(text, { kind: "changed", actions: isStale ? [["Load the page again", () => location.reload()]] : [] });
}

function undo(row, home) {
  row.querySelector("a").focus();
  move(row, home, true);
}

// By keys

function step(row, isDown) {
  const { list, after } = placeOf(row);
  const next = row.nextElementSibling;
  if (isDown ? next : after) return move(row, { list, after: isDown ? next : after.previousElementSibling });
  const other = lists()[lists().indexOf(list) + (isDown ? 1 : -1)];
  if (other) move(row, { list: other, after: isDown ? null : other.lastElementChild });
  else announce(`It is the ${isDown ? "last" : "first"} one already`);
}

document.addEventListener("keydown", (event) => {
  const row = event.target.closest?.("[data-row]");
  const isArrow = event.key === "ArrowDown" || event.key === "ArrowUp";
  if (event.key === "Escape") drop(null);
  if (!row || !isArrow || !event.altKey || event.ctrlKey || event.metaKey || event.shiftKey || event.target.matches("select, input")) return;
  event.preventDefault();
  step(row, event.key === "ArrowDown");
});

// By the handle, with a pointer of any kind

let dragged = null; // the row, the height the pointer is at, and where it would be put

// Where a row would stand that is let go at this height: beneath the last row whose middle is above it.
function placeAt(y) {
  const list = lists().findLast((each) => each.closest("section").getBoundingClientRect().top <= y) ?? lists()[0];
  const above = [...list.children].filter((each) => {
    const { top, height } = each.getBoundingClientRect();
    return each !== dragged.row && top + height / 2 <= y;
  });
  return { list, after: above.at(-1) ?? null };
}

function aim() {
  dragged.to = placeAt(dragged.y);
  const { list, after } = dragged.to;
  for (const each of main.querySelectorAll(".is-target")) each.classList.remove("is-target");
  (after ?? list).classList.add("is-target");
}

function scroll() {
  if (!dragged) return;
  const way = dragged.y < EDGE ? -1 : dragged.y > innerHeight - EDGE ? 1 : 0;
  if (way) {
    scrollBy(0, 12 * way);
    aim();
  }
  requestAnimationFrame(scroll);
}

function drop(to) {
  if (!dragged) return;
  const { row } = dragged;
  dragged = null;
  row.classList.remove("is-dragged");
  for (const each of main.querySelectorAll(".is-target")) each.classList.remove("is-target");
  if (!to) return;
  row.querySelector("a").focus({ preventScroll: true });
  move(row, to);
}

main.addEventListener("pointerdown", (event) => {
  const row = event.target.closest("[data-grip]")?.closest("[data-row]");
  if (!row || !event.isPrimary || event.button) return;
  event.preventDefault();
  main.setPointerCapture(event.pointerId);
  dragged = { row, y: event.clientY, to: null };
  row.classList.add("is-dragged");
  requestAnimationFrame(scroll);
});
main.addEventListener("pointermove", (event) => {
  if (!dragged) return;
  dragged.y = event.clientY;
  aim();
});
main.addEventListener("pointerup", () => drop(dragged?.to));
main.addEventListener("pointercancel", () => drop(null));

const grip = document.querySelector("template[data-grip]").content;
for (const row of document.querySelectorAll("[data-section] [data-row]")) {
  row.append(grip.cloneNode(true));
  row.querySelector("a").setAttribute("aria-keyshortcuts", "Alt+ArrowUp Alt+ArrowDown");
}
