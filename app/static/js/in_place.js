// Small changes where they stand: a tick, and the facts of a finding or an item. Each is shown at once and sent as one PATCH with the
// version its row was drawn at; what is refused goes back, with the reason. Without this file the forms are sent as forms.

const shell = document.getElementById("shell");
const { announce, toast } = await import(shell.src);
const { root } = document.documentElement.dataset;
const PATIENCE = 15_000; // ms until an answer is not waited for any longer
const LABELS = { severity: "Severity", status: "Status", owner_id: "Owner", due_on: "Due" };
const MINUTE = 60_000;
const meter = document.querySelector(".page-head .meter");
const known = new WeakMap(); // the facts of a row, as the server last said them
const wanted = new WeakMap(); // … as the person wants them, until the server has answered
const queues = new WeakMap(); // the changes of a row go one after the other

const titleOf = (row) => row.dataset.title ?? row.querySelector(".todo-title, .row-link").textContent;
const cellsOf = (row) => [...row.querySelectorAll("[data-field]")];
const template = (name) => document.querySelector(`template[data-in-place="${name}"]`).content.cloneNode(true);
const chooser = (field) => template(field).firstElementChild;
const parsed = (field, text) => (field === "owner_id" ? Number(text) || null : text || null);

function drawn(row) {
  const { version, doneAt } = row.dataset;
  const values = cellsOf(row).map(({ dataset: { field, value } }) => [field, parsed(field, value)]);
  const done = row.classList.contains("todo-done");
  return { version: Number(version), title: titleOf(row), done, done_at: doneAt, ...Object.fromEntries(values) };
}

const told = (item) => ({ ...item, owner_id: item.owner?.id ?? null });

async function send(row, changes) {
  const path = `${root}/api/deals/${shell.dataset.deal}/${shell.dataset.page}/${row.dataset.row ?? row.dataset.id}`;
  const body = JSON.stringify({ ...changes, version: known.get(row).version });
  const headers = { "Content-Type": "application/json" };
  // keepalive: a person who moves on at once has changed it all the same.
  const options = { method: "PATCH", headers, body, keepalive: true, signal: AbortSignal.timeout(PATIENCE) };
  const answer = await fetch(path, options).catch(() => null);
  const said = await answer?.json().catch(() => null);
  const item = said?.item ?? said?.finding ?? said?.current;
  return { status: answer?.status ?? 0, said, item: item && told(item) };
}

// Why it was not changed, in words.
export function reasonOf({ status, said }) {
  if (!status || status >= 500) return navigator.onLine ? "Holdfast cannot be reached. Try again in a moment." : "You are offline. Try again when you are back.";
  if (status === 401) return "You are signed out.";
  if (status === 403) return "You can read this deal, but no longer change it.";
  if (status === 404) return "It was deleted meanwhile, or this deal is no longer available to you.";
  return said?.detail || "Try again in a moment.";
}

function day(text) {
  const date = new Date(text);
  return `${date.getUTCDate()} ${date.toLocaleString("en-US", { month: "short", timeZone: "UTC" })} ${date.getUTCFullYear()}`;
}

const isOverdue = ({ done, due_on: due }) => !done && due && due < new Date().toISOString().slice(0, 10);

function dueText(item) {
  if (item.done) return !item.done_at || Date.now() - new Date(item.done_at) < MINUTE ? "done just now" : `done ${day(item.done_at)}`;
  if (!item.due_on) return "";
  return `${isOverdue(item) ? "overdue," : "due"} ${day(item.due_on)}`;
}

// A value as a person reads it.
function textOf(field, value, item) {
  if (field === "due_on") return value ? day(value) : "no day";
  const option = [...chooser(field).options].find((each) => each.value === String(value ?? ""));
  return option?.text ?? item.owner?.name ?? "";
}

function contentOf(field, item) {
  const value = item[field];
  if (field === "severity" || field === "status") return template(`${field}-${value}`);
  const isDue = field === "due_on";
  const made = template(isDue && isOverdue(item) ? "overdue" : value || (isDue && item.done) ? "said" : "unsaid");
  made.querySelector("[data-text]").textContent = (isDue && dueText(item)) || textOf(field, value, item);
  return made;
}

function showField(cell, item) {
  const { field } = cell.dataset;
  const button = cell.querySelector(".in-place");
  cell.dataset.value = item[field] ?? "";
  button.querySelector("[data-shown]").replaceChildren(contentOf(field, item));
  button.disabled = field === "due_on" && item.done;
}

export function recount(list) {
  const part = list.querySelector("[data-section-count]"); // not there in a list that is filtered
  if (part) part.textContent = `${list.querySelectorAll(".todo-done").length} of ${list.querySelectorAll(".todo").length}`;
}

function count(row, more) {
  if (!meter) return; // on its own page
  meter.value += more;
  document.querySelector(".page-head .count").textContent = `${meter.value} of ${meter.max} done`;
  recount(row.closest("section"));
}

function showTick(row, item) {
  const box = row.querySelector(".tick-box");
  const more = Number(item.done) - Number(row.classList.contains("todo-done"));
  row.classList.toggle("todo-done", item.done);
  box.setAttribute("aria-checked", item.done);
  box.setAttribute("aria-label", `Done: ${item.title}`);
  if (more) count(row, more);
  return more;
}

function show(row) {
  const item = { ...known.get(row), ...wanted.get(row) };
  const title = row.querySelector(".todo-title, .row-link");
  const ticked = row.querySelector("[data-tick]") && showTick(row, item);
  if (title) title.textContent = item.title;
  for (const cell of cellsOf(row)) {
    const { field, value } = cell.dataset;
    if (String(item[field] ?? "") !== value || (ticked && field === "due_on")) showField(cell, item);
  }
}

// What else on the page says which version it was drawn at, and when that was.
function showVersion(row, { version, updated_by: by }) {
  const box = row.querySelector(".tick input");
  const changed = row.querySelector("[data-changed]");
  if (box) box.value = `${row.dataset.row}:${version}`;
  else if (row.dataset.id) for (const field of document.getElementsByName("version")) field.value = version;
  if (changed) changed.textContent = `just now${row.dataset.id && by ? ` by ${by.name}` : ""}`;
}

// A row as the server says it is.
export function hear(row, item) {
  known.set(row, told(item));
  showVersion(row, item);
  show(row);
}

// Changes of a row

function words(item, changes) {
  const [[field, value]] = Object.entries(changes);
  if (field === "done") return `${value ? "Done" : "Not done"}: ${item.title}`;
  return `${LABELS[field]} of “${item.title}”: ${textOf(field, value, item)}`;
}

const has = (item, changes) => Object.entries(changes).every(([name, value]) => item[name] === value);
// What must not have moved for a change still to mean what it did.
function sameOf(before, changes) {
  const names = ["title", ...Object.keys(changes)];
  return Object.fromEntries(names.map((name) => [name, before[name]]));
}

function change(row, changes, isUndo = false) {
  if (!known.has(row)) known.set(row, drawn(row));
  wanted.set(row, { ...wanted.get(row), ...changes });
  show(row);
  queues.set(row, (queues.get(row) ?? Promise.resolve()).then(() => save(row, changes, isUndo)));
}

async function save(row, changes, isUndo) {
  const before = known.get(row);
  let answer = await send(row, changes);
  if (answer.item) known.set(row, answer.item);
  // Somebody changed something else of it: that stays, and this comes to it.
  if (answer.said?.current && has(answer.item, sameOf(before, changes))) answer = await send(row, changes);
  const { item } = answer;
  if (item) {
    known.set(row, item);
    showVersion(row, item);
  }
  // What was asked for since is still on its way.
  const left = Object.entries(wanted.get(row)).filter(([name, value]) => changes[name] !== value);
  wanted.set(row, Object.fromEntries(left));
  show(row);
  // It may be so already: by somebody else, or by an earlier try whose answer was lost.
  if (item && has(item, changes) && item.title === before.title) {
    if (isUndo) return announce(words(item, changes));
    const back = Object.fromEntries(Object.keys(changes).map((name) => [name, before[name]]));
    return toast(words(item, changes), { kind: "changed", actions: [["Undo", () => undo(row, back)]], brief: true });
  }
  const text = item
    ? `${item.updated_by?.name ?? "Somebody"} changed “${item.title}” meanwhile. See whether it still is what you mean, then change it again.`
    : `“${before.title}” is not changed. ${reasonOf(answer)}`;
  const actions = [401, 403, 404].includes(answer.status) ? [["Load the page again", () => location.reload()]] : [];
  toast(text, { kind: "changed", actions });
}

function undo(row, back) {
  const [field] = Object.keys(back);
  row.querySelector(field === "done" ? ".tick-box" : `[data-field="${field}"] .in-place`).focus();
  change(row, back, true);
}

document.addEventListener("submit", (event) => {
  if (!event.target.matches("[data-tick]")) return;
  event.preventDefault();
  const row = event.target.closest("[data-version]");
  change(row, { done: !row.classList.contains("todo-done") });
});

// Choosing another value where the old one stands. What is picked with a pointer or out of an open list is taken at once; what is
// changed key by key, with Enter or on leaving the field.

function choose(cell) {
  const { field, value } = cell.dataset;
  const button = cell.querySelector(".in-place");
  const control = chooser(field);
  let key = "";
  control.value = value;
  if (control.value !== value) control.add(new Option(button.textContent, value, true, true), 0); // no longer sees the deal

  function close(isTaken) {
    if (!control.isConnected || button.hidden === false) return;
    const hadFocus = document.activeElement === control;
    const isOther = isTaken && !control.validity.badInput && control.value !== value;
    button.hidden = false;
    control.remove();
    if (hadFocus) button.focus();
    if (isOther) change(cell.closest("[data-version]"), { [field]: parsed(field, control.value) });
  }

  control.addEventListener("pointerdown", () => (key = ""));
  control.addEventListener("change", () => ["", "Enter", " "].includes(key) && close(true));
  control.addEventListener("blur", () => close(true));
  control.addEventListener("keydown", (event) => {
    ({ key } = event);
    if (key !== "Enter" && key !== "Escape") return;
    event.preventDefault();
    event.stopPropagation();
    close(key === "Enter");
  });
  // A list that is open keeps the key's going down to itself.
  control.addEventListener("keyup", (event) => event.key === "Escape" && close(false));
  button.hidden = true;
  cell.append(control);
  control.focus();
  try {
    control.showPicker();
  } catch {
    // not in this browser: it has the focus
  }
}

for (const cell of document.querySelectorAll("[data-version] [data-field]")) {
  const button = Object.assign(document.createElement("button"), { type: "button", className: "in-place" });
  const label = Object.assign(document.createElement("span"), { className: "sr-only", textContent: `${LABELS[cell.dataset.field]}: ` });
  const shown = document.createElement("span");
  shown.dataset.shown = "";
  button.append(label, shown);
  shown.append(...cell.childNodes);
  button.addEventListener("click", () => choose(cell));
  cell.append(button);
  button.disabled = cell.dataset.field === "due_on" && cell.closest(".todo-done") !== null;
}
