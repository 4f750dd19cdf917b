// Small changes where they stand, such as a tick of the checklist. Each is shown at once and sent as one PATCH with the version the
// row was drawn at; what is refused goes back, with the reason. Without this file the forms are sent as forms.

const shell = document.getElementById("shell");
const { announce, toast } = await import(shell.src);
const { root } = document.documentElement.dataset;
const PATIENCE = 15_000; // ms until an answer is not waited for any longer
const MINUTE = 60_000;
const meter = document.querySelector(".page-head .meter");
const known = new WeakMap(); // the facts of a row, as the server last said them
const wanted = new WeakMap(); // … as the person wants them, until the server has answered
const queues = new WeakMap(); // the changes of a row go one after the other

function drawn(row) {
  const { version, due, doneAt } = row.dataset;
  const title = row.querySelector(".todo-title").textContent;
  return { version: Number(version), title, done: row.classList.contains("todo-done"), done_at: doneAt, due_on: due || null };
}

async function send(row, changes) {
  const path = `${root}/api/deals/${shell.dataset.deal}/checklist/${row.dataset.row}`;
  const body = JSON.stringify({ ...changes, version: known.get(row).version });
  const headers = { "Content-Type": "application/json" };
  // keepalive: a person who moves on at once has changed it all the same.
  const options = { method: "PATCH", headers, body, keepalive: true, signal: AbortSignal.timeout(PATIENCE) };
  const answer = await fetch(path, options).catch(() => null);
  const said = await answer?.json().catch(() => null);
  return { status: answer?.status ?? 0, said, item: said?.item ?? said?.current };
}

// Why it was not changed, in words.
function reasonOf({ status, said }) {
  if (!status) return navigator.onLine ? "Holdfast cannot be reached. Try again in a moment." : "You are offline. Try again when you are back.";
  if (status === 401) return "You are signed out.";
  if (status === 403) return "You can read this deal, but no longer change it.";
  if (status === 404) return "It was deleted meanwhile, or this deal is no longer available to you.";
  return said?.detail ?? "Try again in a moment.";
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

function showDue(cell, item) {
  const made = document.querySelector(`template[data-due="${isOverdue(item) ? "overdue" : ""}"]`).content.cloneNode(true);
  made.querySelector("[data-text]").textContent = dueText(item);
  cell.replaceChildren(made);
}

function count(row, more) {
  const list = row.closest("section");
  const part = list.querySelector("[data-section-count]"); // not there in a list that is filtered
  meter.value += more;
  document.querySelector(".page-head .count").textContent = `${meter.value} of ${meter.max} done`;
  if (part) part.textContent = `${list.querySelectorAll(".todo-done").length} of ${list.querySelectorAll(".todo").length}`;
}

function show(row) {
  const item = { ...known.get(row), ...wanted.get(row) };
  const box = row.querySelector(".tick-box");
  const more = Number(item.done) - Number(row.classList.contains("todo-done"));
  row.classList.toggle("todo-done", item.done);
  row.querySelector(".todo-title").textContent = item.title;
  box.setAttribute("aria-checked", item.done);
  box.setAttribute("aria-label", `Done: ${item.title}`);
  if (more) {
    count(row, more);
    showDue(row.querySelector(".todo-due"), item);
  }
}

// Changes of a row

const said = (title, { done }) => `${done ? "Done" : "Not done"}: ${title}`;
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
  if (item) known.set(row, item);
  // What was asked for since is still on its way.
  const left = Object.entries(wanted.get(row)).filter(([name, value]) => changes[name] !== value);
  wanted.set(row, Object.fromEntries(left));
  show(row);
  // It may be so already: by somebody else, or by an earlier try whose answer was lost.
  if (item && has(item, changes) && item.title === before.title) {
    if (isUndo) return announce(said(item.title, changes));
    const back = Object.fromEntries(Object.keys(changes).map((name) => [name, before[name]]));
    return toast(said(item.title, changes), { kind: "changed", actions: [["Undo", () => undo(row, back)]], brief: true });
  }
  const text = item
    ? `${item.updated_by?.name ?? "Somebody"} changed “${item.title}” meanwhile. See whether it still is what you mean, then change it again.`
    : `“${before.title}” is not changed. ${reasonOf(answer)}`;
  const actions = [401, 403, 404].includes(answer.status) ? [["Load the page again", () => location.reload()]] : [];
  toast(text, { kind: "changed", actions });
}

function undo(row, back) {
  row.querySelector(".tick-box").focus();
  change(row, back, true);
}

document.addEventListener("submit", (event) => {
  if (!event.target.matches("[data-tick]")) return;
  event.preventDefault();
  const row = event.target.closest("[data-row]");
  change(row, { done: !row.classList.contains("todo-done") });
});
