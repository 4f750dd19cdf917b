// What somebody types into a form of a deal page survives a reload, a lost login and a crash of the tab: in this browser,
// under their id, the deal's and the form's. It goes when the server says it is saved, at sign-out, and when somebody else signs in.
//
// Something new can be begun in several tabs at once, so there each tab has a draft of its own, under an id that a reload and a
// restored tab bring along. A draft that no living tab answers for is offered to the next form of its kind.

// Who else has a path of this host has the same storage.
const { root } = document.documentElement.dataset;
const PREFIX = `holdfast${root}:draft:`;
const TAB = `holdfast${root}:tab`;
const ANSWERS = 100; // ms in which the other tabs say that they live
const SIGNED_OUT = `holdfast${root}:signed-out`;
const LIFE = 14 * 24 * 3600 * 1000; // a draft nobody came back to in two weeks is forgotten
const PAUSE = 250; // ms of quiet before it is written
const UNKEPT = new Set(["deal", "by", "here"]); // the page's own
const TOLD = ["done", "saved", "undo", "number", "moved", "first", "last", "role", "until"]; // what an address says once

const user = document.getElementById("drafts").dataset.user;
let stopped = false;

const read = (key) => {
  try {
    return JSON.parse(localStorage.getItem(key));
  } catch {
    return null;
  }
};

function write(key, draft) {
  if (stopped) return false;
  try {
    localStorage.setItem(key, JSON.stringify(draft));
    return true;
  } catch {
    return false; // no room, or not allowed here: the form works all the same
  }
}

const keys = () => Object.keys(localStorage).filter((key) => key.startsWith(PREFIX));

function forgetOthersAndOld() {
  for (const key of keys()) {
    const draft = read(key);
    if (!key.startsWith(`${PREFIX}${user}:`) || !draft || Date.now() - draft.at > LIFE) localStorage.removeItem(key);
  }
}

const isNew = (form) => form.dataset.draft.endsWith("-new");
const draftOf = (deal, name) => `${PREFIX}${user}:${deal}:${name}`;
const ownDraft = (deal, name) => draftOf(deal, name) + (name.endsWith("-new") ? `:${tab}` : "");

function nameTab(id = Math.random().toString(36).slice(2)) {
  tab = id;
  try {
    sessionStorage.setItem(TAB, id);
  } catch {
    // not allowed here: a reload finds the draft all the same, as one that nobody answers for
  }
}

// Who lives says its id whenever somebody asks.
let tab;
const living = new Set();
const channel = "BroadcastChannel" in window ? new BroadcastChannel(`holdfast${root}-drafts-${user}`) : null;
if (channel) channel.onmessage = ({ data }) => (data === "who?" ? channel.postMessage(tab) : living.add(data));

function adopt(form) {
  const { deal, draft } = form.dataset;
  const isLeft = (key) => key.startsWith(draftOf(deal, draft)) && !living.has(key.split(":").at(-1));
  const [latest] = keys().filter(isLeft).sort((a, b) => read(b).at - read(a).at);
  if (!latest || !write(ownDraft(deal, draft), read(latest))) return false;
  localStorage.removeItem(latest);
  return true;
}

// A form that was sent is settled only by an answer that says so: a lost login or an outage leaves it to be restored.
function forgetSaved() {
  const address = new URL(location.href);
  const deal = address.pathname.slice(root.length).match(/^\/deals\/(\d+)\//)?.[1];
  const key = ownDraft(deal, address.searchParams.get("saved") ?? "");
  if (read(key)?.sent) localStorage.removeItem(key);
  if (!address.searchParams.has("done")) return;
  for (const name of TOLD) address.searchParams.delete(name);
  history.replaceState(history.state, "", address);
}

const fields = (form) => [...form.elements].filter((each) => each.name && !UNKEPT.has(each.name) && each.type !== "submit" && each.localName !== "button");
const isToggle = (field) => field.type === "checkbox" || field.type === "radio";
const valueOf = (field) => (isToggle(field) && !field.checked ? "" : field.value);

function contents(form) {
  const typed = {};
  for (const field of fields(form)) if (field.type !== "radio" || field.checked) typed[field.name] = valueOf(field);
  return typed;
}

function put(form, typed) {
  for (const field of fields(form)) {
    if (!(field.name in typed)) continue;
    if (isToggle(field)) field.checked = field.value === typed[field.name];
    else field.value = typed[field.name];
  }
}

function ago(moment) {
  const minutes = Math.round((Date.now() - moment) / 60000);
  if (minutes < 1) return "a moment ago";
  if (minutes < 60) return `${minutes} ${minutes === 1 ? "minute" : "minutes"} ago`;
  const hours = Math.round(minutes / 60);
  if (hours < 24) return `${hours} ${hours === 1 ? "hour" : "hours"} ago`;
  return `${Math.round(hours / 24)} days ago`;
}

function keep(form) {
  const key = () => ownDraft(form.dataset.deal, form.dataset.draft);
  const drawn = contents(form); // as the server sent it
  const isUnsaved = "unsaved" in form.dataset;
  const state = document.createElement("p");
  state.className = "draft-state muted";
  form.querySelector(".card-foot, .sheet-foot")?.prepend(state);
  let timer;

  const isTyped = () => isUnsaved || JSON.stringify(contents(form)) !== JSON.stringify(drawn);

  function save(sent = false) {
    clearTimeout(timer);
    if (stopped) return;
    if (isTyped()) {
      if (write(key(), { at: Date.now(), sent, typed: contents(form) })) state.textContent = "Draft kept on this device";
    } else {
      localStorage.removeItem(key());
      state.textContent = "";
    }
  }

  function offer(draft) {
    const line = document.createElement("div");
    line.className = "notice draft appear";
    const text = document.createElement("p");
    text.className = "notice-text";
    text.setAttribute("role", "status");
    const moved = draft.typed.version && draft.typed.version !== drawn.version;
    text.textContent = `Draft restored: what you typed ${ago(draft.at)} is back${moved ? ". It was changed meanwhile; when you save you see both versions." : "."}`;
    const discard = document.createElement("button");
    discard.className = "link-button";
    discard.type = "button";
    discard.textContent = "Discard";
    discard.addEventListener("click", () => {
      put(form, drawn);
      localStorage.removeItem(key());
      state.textContent = "";
      line.remove();
      fields(form).find((field) => field.type !== "hidden")?.focus();
    });
    line.append(text, discard);
    form.before(line);
  }

  function restore() {
    const draft = read(key());
    if (!draft?.typed) return;
    put(form, draft.typed);
    if (isTyped()) offer(draft);
    else localStorage.removeItem(key());
  }

  if (isUnsaved) save();
  else restore();

  form.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(save, PAUSE);
  });
  form.addEventListener("submit", () => save(true));
  for (const link of form.querySelectorAll("[data-discard]")) {
    link.addEventListener("click", () => {
      clearTimeout(timer);
      stopped = true;
      localStorage.removeItem(key());
    });
  }
  // A closed or discarded tab does not wait for the pause.
  addEventListener("pagehide", () => timer && !form.dataset.sent && isTyped() && !read(key())?.sent && save());
  return { form, save, restore, isTyped };
}

async function meetOthers(kept) {
  channel?.postMessage("who?");
  await new Promise((met) => setTimeout(met, ANSWERS));
  const wasCopied = living.has(tab); // a duplicated tab comes with the id of the first
  if (wasCopied) nameTab();
  for (const { form, save, restore, isTyped } of kept) {
    if (wasCopied && isTyped()) save();
    else if (!isTyped() && adopt(form)) restore();
  }
}

try {
  nameTab(sessionStorage.getItem(TAB) ?? undefined);
} catch {
  nameTab();
}
forgetOthersAndOld();
forgetSaved();
const begun = [...document.querySelectorAll("form[data-draft]")].map(keep).filter(({ form }) => isNew(form));
if (begun.length) meetOthers(begun);

document.addEventListener("submit", (event) => {
  if (event.target.matches("[data-signs-out]")) stopped = true; // shell.js takes the drafts away
});
addEventListener("storage", (event) => {
  if (event.key === SIGNED_OUT || event.key === null) stopped = true;
});
