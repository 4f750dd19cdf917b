// What somebody types into a form of a deal: in this browser at once, on the server soon after. While the server cannot be reached it
// waits here, and goes up from whichever page is open when it can. What goes up is numbered, so that nothing old comes late over
// something newer, and nothing at all over what was typed on another device.

// Who else has a path of this host has the same storage.
const { root } = document.documentElement.dataset;
const PREFIX = `holdfast${root}:draft:`;
const SIGNED_OUT = `holdfast${root}:signed-out`;
const LIFE = 14 * 24 * 3600 * 1000; // what nobody came back to in two weeks is the server's alone
const MOST = 64 * 1024; // bytes the server takes of one
const KEEPALIVE = 60_000; // bytes that a browser sends for a page that is gone
const FIRST = 1000;
const LONGEST = 15_000;
const LEAVING = 3000; // ms that a sign-out waits
const SENDING = 60_000; // ms in which a form that was sent is answered

const user = document.getElementById("shell").dataset.user;
export const keyOf = (deal, form, tab) => `${PREFIX}${user}:${deal}:${form}:${tab}`;
const dealOf = (key) => key.slice(PREFIX.length).split(":")[1];
const tabOf = (key) => key.split(":").at(-1);

let stopped = false;
let wait = FIRST;
let timer;
const going = new Map();
const held = new Map(); // what the browser has no room for, or does not let us keep: it goes up all the same

// One record: { at, sent, fields, drawn, itemVersion, name, version, acked }. `version` counts what was typed, `acked` is up to where
// the server has it, `name` is what it is called there.
export function read(key) {
  try {
    const draft = JSON.parse(held.get(key) ?? localStorage.getItem(key));
    return draft?.typed ? upgraded(key, draft) : draft;
  } catch {
    return null;
  }
}

// As a version before kept it, which sent nothing.
function upgraded(key, { at, sent, typed }) {
  const pairs = Object.entries(typed).filter(([name]) => !/^(was|choice)-|^version$/.test(name));
  const drawn = Object.fromEntries(pairs.filter(([name]) => `was-${name}` in typed).map(([name]) => [name, typed[`was-${name}`]]));
  const fields = Object.fromEntries(pairs.filter(([name, value]) => value !== (drawn[name] ?? "")));
  const [form, tab = "before"] = key.slice(PREFIX.length).split(":").slice(2);
  const name = form.endsWith("-new") ? `${form}.${tab}` : form;
  return { at, sent, fields, drawn, itemVersion: Number(typed.version) || null, name, version: 1, acked: 0 };
}

export function write(key, draft) {
  if (stopped) return false;
  const text = JSON.stringify(draft);
  try {
    localStorage.setItem(key, text);
    held.delete(key);
  } catch {
    held.set(key, text);
  }
  return true;
}

export function forget(key) {
  held.delete(key);
  localStorage.removeItem(key);
}

export const isUp = (draft) => draft.version === draft.acked;

export function keys() {
  try {
    return [...new Set([...held.keys(), ...Object.keys(localStorage)])].filter((key) => key.startsWith(PREFIX));
  } catch {
    return [...held.keys()];
  }
}

// Those of this form that tabs have left here, the latest first.
export function left(deal, form, isLiving) {
  const base = `${PREFIX}${user}:${deal}:${form}`;
  const isLeft = (key) => key === base || (key.startsWith(`${base}:`) && !isLiving(tabOf(key)));
  return keys().filter(isLeft).sort((a, b) => read(b).at - read(a).at);
}

export function forgetOthersAndOld() {
  for (const key of keys()) {
    const draft = read(key);
    if (!key.startsWith(`${PREFIX}${user}:`) || !draft || Date.now() - draft.at > LIFE) forget(key);
  }
}

export function stop() {
  stopped = true;
}

function tell(name, detail) {
  document.dispatchEvent(new CustomEvent(name, { detail }));
}

// Going up

function bodyOf(key, draft) {
  const { fields, itemVersion, version, acked } = draft;
  const drawn = { ...draft.drawn };
  const bytes = () => new Blob([JSON.stringify([fields, drawn])]).size;
  // What the form said can be read from the item again, as long as that is at the same version; what was typed cannot.
  while (bytes() > MOST && Object.keys(drawn).length) {
    delete drawn[Object.keys(drawn).sort((a, b) => drawn[b].length - drawn[a].length)[0]];
  }
  return JSON.stringify({ fields, drawn, item_version: itemVersion, version, follows: acked, writer: tabOf(key) });
}

const addressOf = (key, draft) => `${root}/api/deals/${dealOf(key)}/drafts/${draft.name}`;

// Says what became of it: up, away, signed-out, gone, refused, moved (`current` is what stands there), full, large.
async function send(key, keepalive) {
  const draft = read(key);
  if (!draft || isUp(draft)) return { outcome: "up" };
  const body = bodyOf(key, draft);
  const options = { method: "PUT", headers: { "Content-Type": "application/json" }, body, keepalive: keepalive && body.length < KEEPALIVE };
  const answer = await fetch(addressOf(key, draft), options).catch(() => null);
  const said = await answer?.json().catch(() => null);
  if (!answer || answer.status >= 500) return { outcome: "away" };
  if (answer.ok) {
    settle(key, said.version);
    return { outcome: "up" };
  }
  if (said?.code === "draft_gone") {
    // It was saved or discarded elsewhere while more was typed here, which begins a draft anew.
    write(key, { ...read(key), acked: 0 });
    return send(key, keepalive);
  }
  const outcome = { 401: "signed-out", 404: "gone", 413: "large", 429: "busy" }[answer.status] ?? { draft_moved: "moved", drafts_full: "full" }[said?.code];
  return { outcome: outcome ?? "refused", current: said?.current };
}

// The server has it up to here.
function settle(key, version) {
  const now = read(key);
  if (now) write(key, { ...now, acked: version, version: Math.max(now.version, version) });
}

// One after the other: what was typed meanwhile goes next.
export function upload(key, { keepalive = false } = {}) {
  if (stopped) return Promise.resolve();
  // A page that goes cannot wait for what is on its way; the server knows the order.
  const earlier = keepalive ? null : going.get(key);
  const after = (earlier ? earlier.then(() => send(key)) : send(key, keepalive)).then((said) => {
    if (said.outcome === "away") setAway();
    else if (said.outcome === "up") setBack();
    else if (said.outcome === "busy") setTimeout(upload, LONGEST, key);
    tell("holdfast:draft", { key, ...said });
    return said.outcome;
  });
  going.set(key, after);
  return after;
}

function waiting() {
  const isWaiting = (draft) => draft && !isUp(draft) && (!draft.sent || Date.now() - draft.at > SENDING);
  return keys().filter((key) => key.startsWith(`${PREFIX}${user}:`) && isWaiting(read(key)));
}

export const uploadAll = () => Promise.all(waiting().map((key) => upload(key)));

// Settled by an answer: the draft of a form that was saved. What was on its way when it was sent does not come back.
export function endSaved(key) {
  const draft = read(key);
  forget(key);
  if (!isUp(draft)) fetch(`${addressOf(key, draft)}?writer=${tabOf(key)}`, { method: "DELETE" }).catch(() => null);
}

// What this tab wrote, or went on from; not what another device has written since.
export function discard(key) {
  const draft = read(key);
  forget(key);
  if (!draft || !(draft.acked || going.has(key))) return;
  const address = `${addressOf(key, draft)}?writer=${tabOf(key)}&version=${draft.acked}`;
  fetch(address, { method: "DELETE", keepalive: true }).catch(() => null);
}

// What stands on the server

export async function find(deal, form) {
  const answer = await fetch(`${root}/api/drafts?deal_id=${deal}&form=${form}`).catch(() => null);
  return answer?.ok ? (await answer.json()).drafts : null;
}

export async function get(id) {
  const answer = await fetch(`${root}/api/drafts/${id}`).catch(() => null);
  return answer?.ok ? (await answer.json()).draft : null;
}

// Away and back

let away = false;
export const isAway = () => away || !navigator.onLine;

function setAway() {
  if (!away) {
    away = true;
    tell("holdfast:away");
  }
  clearTimeout(timer);
  // Not all at the same moment, when a whole office waits.
  timer = setTimeout(look, wait * (0.75 + Math.random() / 2));
  wait = Math.min(wait * 2, LONGEST);
}

function setBack() {
  clearTimeout(timer);
  wait = FIRST;
  if (!away) return;
  away = false;
  tell("holdfast:back");
  uploadAll();
}

// Whether a form that is sent now would be served. Leaves it to be noticed when that changes.
export async function look() {
  const answer = await fetch(`${root}/health/ready`, { cache: "no-store", signal: AbortSignal.timeout(LEAVING) }).catch(() => null);
  await answer?.text().catch(() => null);
  const isServed = answer?.status < 500; // a proxy may keep this address to itself, which is an answer, too
  if (isServed) setBack();
  else setAway();
  return isServed;
}

addEventListener("online", look);
addEventListener("offline", setAway);
addEventListener("storage", (event) => {
  if (event.key === SIGNED_OUT || event.key === null) stop();
});

// Signing out leaves nothing behind that somebody typed, once the server has it. Says whether to go on.
export async function leave() {
  const waits = [];
  tell("holdfast:leaving", { waits }); // a form writes down what it has, and the page where it is
  waits.push(...waiting().map((key) => upload(key)));
  await Promise.race([Promise.all(waits), new Promise((over) => setTimeout(over, LEAVING))]);
  const number = waiting().length;
  if (number && !(await confirmed(number))) return false;
  tell("holdfast:left");
  stop();
  keys().forEach(forget);
  try {
    localStorage.setItem(SIGNED_OUT, String(Date.now())); // for the other tabs, which would write again
  } catch {
    // not allowed here, so nothing was kept
  }
  return true;
}

function confirmed(number) {
  const dialog = document.createElement("dialog");
  dialog.className = "ask-dialog";
  const text = document.createElement("p");
  text.id = "ask-text";
  dialog.setAttribute("aria-labelledby", text.id);
  text.textContent = `${number === 1 ? "One text you typed is" : `${number} texts you typed are`} not on the server yet. If you sign out now, ${number === 1 ? "it is" : "they are"} lost.`;
  const foot = document.createElement("form");
  foot.method = "dialog";
  foot.className = "ask-foot";
  for (const [value, label, look] of [["stay", "Stay signed in", "button-primary"], ["leave", "Sign out and lose it", "button-danger"]]) {
    const button = document.createElement("button");
    button.value = value;
    button.textContent = label;
    button.className = `button ${look}`;
    foot.append(button);
  }
  dialog.append(text, foot);
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((answered) =>
    dialog.addEventListener("close", () => {
      dialog.remove();
      answered(dialog.returnValue === "leave");
    }),
  );
}
