// What every page has: menus that close, notices that go, messages that come, and the larger parts when they are wanted.
// Everything essential works without this file.

const modules = document.getElementById("shell").dataset;
const { root } = document.documentElement.dataset;
const load = (name) => import(modules[name]);

// Menus

const menus = () => document.querySelectorAll("details.menu[open]");

function closeOthers(event) {
  for (const menu of menus()) if (!menu.contains(event.target)) menu.open = false;
}

document.addEventListener("click", closeOthers);
document.addEventListener("focusin", closeOthers);
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const menu of menus()) {
    menu.open = false;
    menu.querySelector("summary").focus();
  }
});

// The switcher's field takes what is typed at once, which the event `toggle` would be too late for; the rest comes with the
// first sign of interest.
const switcher = document.querySelector("[data-switcher]");
switcher?.querySelector("summary").addEventListener("click", (event) => {
  event.preventDefault();
  switcher.open = !switcher.open;
  if (switcher.open) switcher.querySelector("input").focus();
});
for (const sign of ["pointerenter", "focusin", "toggle"]) {
  switcher?.addEventListener(sign, () => load("dealSelector"), { once: true });
}

// Messages

const toasts = document.querySelector("[data-toasts]");
const live = document.querySelector("[data-live]");

// Say it to those who listen. It stands there no longer than it takes to be heard.
let heard;
export function announce(text) {
  clearTimeout(heard);
  live.textContent = "";
  setTimeout(() => (live.textContent = text), 50);
  heard = setTimeout(() => (live.textContent = ""), 3000);
}

const PICTURES = { switched: "arrow-left-right", elsewhere: "arrow-left-right", gone: "lock", shared: "users", moved: "square-kanban", edited: "pencil" };

// A message over the page; `actions` are [text, what to do] or [text, address]. Returns the element. One of a `kind` at a time.
export function toast(text, { kind = "", actions = [], brief = false, onclose = () => {} } = {}) {
  const made = document.querySelector("template[data-toast]").content.firstElementChild.cloneNode(true);
  if (kind) toasts.querySelector(`[data-kind="${kind}"]`)?.remove();
  made.dataset.kind = kind;
  made.querySelector(".notice-text").textContent = text;
  const use = made.querySelector("use");
  use.setAttribute("href", use.getAttribute("href").replace(/#.*/, `#${PICTURES[kind.split("-")[0]] ?? "info"}`));
  for (const [label, action] of actions) {
    const isLink = typeof action === "string";
    const part = document.createElement(isLink ? "a" : "button");
    part.textContent = label;
    part.className = "link-button";
    if (isLink) part.href = action;
    else {
      part.type = "button";
      part.addEventListener("click", () => action() === false || made.remove());
    }
    made.querySelector(".toast-actions").append(part);
  }
  made.querySelector("[data-close]").addEventListener("click", () => {
    made.remove();
    onclose();
  });
  toasts.append(made);
  if (brief) goes(made);
  return made;
}

// It does not stay for ever, but never goes while somebody is at it.
export function goes(box, wait = 20000) {
  const later = () => (box.matches(":hover, :focus-within") ? setTimeout(later, 4000) : leave(box));
  setTimeout(later, wait);
}

// What stands in the page leaves its room behind, so that nothing moves.
function leave(box) {
  if ("switched" in box.dataset) box.classList.add("unsaid");
  else box.remove();
}

for (const box of document.querySelectorAll("[data-brief]")) goes(box, Number(box.dataset.brief));

const first = document.querySelector("[data-notice] .notice-text");
if (first) announce(first.textContent);

document.addEventListener("submit", async (event) => {
  if (!event.target.matches("[data-dismiss]")) return;
  const form = event.target;
  event.preventDefault();
  const read = JSON.stringify({ code: form.elements.code.value });
  const headers = { "Content-Type": "application/json" };
  const answer = await fetch(`${root}/api/notices/dismiss`, { method: "POST", headers, body: read }).catch(() => null);
  if (!answer?.ok) return form.submit();
  leave(form.closest("[data-notice], [data-switched]"));
  document.getElementById("main").focus();
});

// Signing out first sends up what somebody typed, then wipes it here: the server cannot do that where others share this host.

function hasDrafts() {
  try {
    return Object.keys(localStorage).some((key) => key.startsWith(`holdfast${root}:draft:`));
  } catch {
    return false; // not allowed here, so nothing was kept
  }
}

document.addEventListener("submit", async (event) => {
  if (!event.target.matches("[data-signs-out]")) return;
  event.preventDefault();
  const drafts = await load("draftStore").catch(() => null);
  if (!drafts || (await drafts.leave())) event.target.submit();
});

// Pins of a list, in place

document.addEventListener("click", async (event) => {
  const button = event.target.closest?.("[data-pin]");
  if (!button) return;
  event.preventDefault();
  const isPinned = button.getAttribute("aria-pressed") === "true";
  button.setAttribute("aria-pressed", !isPinned);
  const answer = await fetch(`${root}/api/deals/${button.dataset.pin}/pin`, { method: isPinned ? "DELETE" : "PUT" }).catch(() => null);
  if (answer?.ok) return;
  button.setAttribute("aria-pressed", isPinned);
  toast("This pin could not be changed. Try again in a moment.", { kind: "pin" });
});

// Theme, at once and in every tab

const told = "BroadcastChannel" in window ? new BroadcastChannel(`holdfast${root}-theme`) : null;

function showTheme(theme) {
  document.documentElement.dataset.theme = theme;
  document.querySelector("meta[name=color-scheme]").content = theme === "system" ? "light dark" : theme;
  for (const button of document.querySelectorAll("[data-theme-choice]")) button.setAttribute("aria-pressed", button.value === theme);
}

if (told) told.onmessage = (event) => showTheme(event.data);

document.addEventListener("click", async (event) => {
  const button = event.target.closest?.("[data-theme-choice]");
  if (!button) return;
  event.preventDefault();
  showTheme(button.value);
  told?.postMessage(button.value);
  const headers = { "Content-Type": "application/json" };
  const answer = await fetch(`${root}/api/me`, { method: "PATCH", headers, body: JSON.stringify({ theme: button.value }) }).catch(() => null);
  announce(answer?.ok ? `Theme: ${button.textContent.trim()}` : "The theme is shown, but could not be kept. Try again later.");
});

// The palette, and the keys

const mod = /Mac|iP(hone|ad)/.test(navigator.platform) ? "⌘" : "Ctrl ";
for (const key of document.querySelectorAll("[data-mod-k]")) key.textContent = `${mod}K`;

let palette = null;
let early = null;

async function openPalette() {
  for (const menu of menus()) menu.open = false;
  if (palette) return palette.open();
  if (early) return;
  early = { text: "", enter: false };
  try {
    palette = await load("palette");
    palette.open(early);
  } catch {
    toast("The search could not be loaded. Try again in a moment.", { kind: "palette" });
  } finally {
    early = null;
  }
}

function keepForPalette(event) {
  if (event.key === "Enter") early.enter = true;
  else if (event.key === "Backspace") early.text = early.text.slice(0, -1);
  else if (event.key.length === 1) early.text += event.key;
  else return;
  event.preventDefault();
}

async function openKeys() {
  for (const menu of menus()) menu.open = false;
  (await load("keys")).open();
}

document.querySelector("button[data-palette]").addEventListener("click", openPalette);
document.querySelector("button[data-keys]").addEventListener("click", openKeys);

// Single keys can be switched off in the list of keys.
const KEYS_OFF = `holdfast${root}-single-keys-off`;
const GO = { d: `${root}/deals`, b: `${root}/deals/board`, s: `${root}/settings`, n: `${root}/notices` };
let goes_to = 0;

function isTyping(target) {
  return target.closest?.("input:not([type=checkbox], [type=radio]), textarea, select, [contenteditable], dialog[open]");
}

let rowKeys; // one promise, so that keys stay in their order

function useKeys(event) {
  event.preventDefault();
  rowKeys ??= load("rowKeys");
  rowKeys.then((keys) => keys.press(event));
}

document.addEventListener("keydown", (event) => {
  if ((event.ctrlKey || event.metaKey) && event.key === "Enter" && event.target.form?.matches("main form[method=post]")) useKeys(event);
  if ((event.ctrlKey || event.metaKey) && !event.altKey && !event.shiftKey && event.key.toLowerCase() === "k") {
    event.preventDefault();
    return openPalette();
  }
  if (early && !event.ctrlKey && !event.metaKey && !event.altKey) return keepForPalette(event);
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
  if (localStorage.getItem(KEYS_OFF)) return;
  if (Date.now() - goes_to < 1500) {
    goes_to = 0;
    const link = document.querySelector(`.rail [data-go="${CSS.escape(event.key)}"]`);
    const address = link?.href ?? (event.key === "n" && !document.querySelector("[data-bell]") ? undefined : GO[event.key]);
    if (address) {
      event.preventDefault();
      location.assign(address);
    }
  } else if (event.key === "g") goes_to = Date.now();
  else if (event.key === "?") openKeys();
  else if (event.key === "/") {
    event.preventDefault();
    const search = document.querySelector("[data-search]");
    if (search) search.select();
    else openPalette();
  } else if ((event.repeat ? /^[jk]$/ : /^[cejkx]$/).test(event.key)) useKeys(event);
});

// What happens in other tabs and elsewhere can wait until this page stands.
(window.requestIdleCallback ?? setTimeout)(() => {
  load("tabs");
  if (hasDrafts()) load("draftStore").then((drafts) => drafts.uploadAll());
});

// A page out of the back/forward cache may be another login's by now, or about a deal left since: ask the server.
window.addEventListener("pageshow", (event) => {
  if (event.persisted) location.reload();
});
