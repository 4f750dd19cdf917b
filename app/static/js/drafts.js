// The forms of a deal page keep what is typed: it survives a reload, a lost login, a crash, a sign-out, and is there on any device.
// It goes when the server says that it is saved, and when its person discards it.
//
// Something new can be begun in several tabs at once, so there each tab has a draft of its own, under an id that a reload and a
// restored tab bring along. A draft that no living tab answers for is offered to the next form of its kind.

const modules = document.getElementById("drafts").dataset;
const store = await import(document.getElementById("shell").dataset.draftStore);
const { ago, choose, line, makeForm, place } = await import(modules.draftForm);
const { watchSaves } = await import(modules.saves);

const { root } = document.documentElement.dataset;
const TAB = `holdfast${root}:tab`;
const ANSWERS = 100; // ms in which the other tabs say that they live
const PAUSE = 250; // ms after which it is written here
const QUIET = 600; // ms of quiet before it goes up,
const AT_LAST = 5000; // which it does after so many in any case
const SOON = 1500; // ms in which it is up, as a rule
const TOLD = ["done", "saved", "undo", "number", "moved", "first", "last", "role", "until"]; // what an address says once
const AWAY = {
  offline: "You are offline. What you type is kept on this device; you can save as soon as you are back.",
  server: "Holdfast cannot be reached at the moment. What you type is kept on this device; you can save as soon as it is back.",
};
const SAID = {
  up: "Saved as a draft",
  here: "Kept on this device, not yet on the server",
  large: "Kept on this device. It is too long to be kept on the server as a draft: save it soon",
  full: "Kept on this device. You have 200 drafts on the server, so save or discard some",
  "signed-out": "Kept on this device, not yet on the server: you are signed out",
};

// The server answers with the names in an order of its own.
const inOrder = (values) => JSON.stringify(Object.entries(values).sort());

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
const channel = "BroadcastChannel" in window ? new BroadcastChannel(`holdfast${root}-drafts-${modules.user}`) : null;
if (channel) channel.onmessage = ({ data }) => (data === "who?" ? channel.postMessage(tab) : living.add(data));

// A form that was sent is settled only by an answer that says so: a lost login or an outage leaves it to be restored.
function forgetSaved() {
  const address = new URL(location.href);
  const deal = address.pathname.slice(root.length).match(/^\/deals\/(\d+)\//)?.[1];
  const key = store.keyOf(deal, address.searchParams.get("saved") ?? "", tab);
  if (store.read(key)?.sent) store.endSaved(key);
  if (!address.searchParams.has("done")) return;
  for (const name of TOLD) address.searchParams.delete(name);
  history.replaceState(history.state, "", address);
}

function keep(element) {
  const { deal, draft: name } = element.dataset;
  const isNew = name.endsWith("-new");
  const key = () => store.keyOf(deal, name, tab);
  const nameOf = () => (isNew ? `${name}.${tab}` : name);
  const form = makeForm(element);
  const state = document.createElement("p");
  state.className = "draft-state muted";
  element.querySelector(".card-foot, .sheet-foot")?.prepend(state);
  const buttons = [...element.querySelectorAll("button:not([type=button])")];
  let timer, later, atLast, notYet; // timers
  let notice = null; // the line before the form
  let choice = null; // between two drafts
  let isLost = false; // the access to the deal

  function say(text) {
    clearTimeout(notYet);
    notYet = undefined;
    state.textContent = text;
  }

  function replace(next) {
    notice?.remove();
    notice = next;
  }

  // Write it down here. Returns whether there is anything to go up.
  function save(sent = false) {
    clearTimeout(timer);
    timer = undefined;
    const before = store.read(key());
    if (!form.isTyped()) {
      if (before) store.discard(key());
      say("");
      return false;
    }
    const text = { fields: form.typed(), drawn: form.drawn(), itemVersion: form.version() };
    const isSame = before && inOrder(text.fields) === inOrder(before.fields) && inOrder(text.drawn) === inOrder(before.drawn);
    const version = isSame ? before.version : (before?.version ?? 0) + 1;
    const draft = { at: Date.now(), sent, ...text, name: before?.name ?? nameOf(), version, acked: before?.acked ?? 0 };
    if (before?.earlier) draft.earlier = before.earlier;
    if (!store.write(key(), draft)) return false;
    if (store.isUp(draft)) say(SAID.up);
    else if (!notYet) {
      if (state.textContent === SAID.up) say("");
      notYet = setTimeout(() => say(SAID.here), SOON);
    }
    return !store.isUp(draft) && Object.keys(draft.fields).length > 0;
  }

  function up(options) {
    clearTimeout(later);
    clearTimeout(atLast);
    atLast = undefined;
    if (!choice && !isLost) store.upload(key(), options);
  }

  function flush() {
    clearTimeout(atLast);
    atLast = undefined;
    if (save()) up();
  }

  function typed() {
    timer ??= setTimeout(save, PAUSE, false);
    clearTimeout(later);
    later = setTimeout(flush, QUIET);
    atLast ??= setTimeout(flush, AT_LAST);
  }

  function startAnew() {
    const draft = store.read(key());
    const undo = () => {
      store.write(key(), { ...draft, acked: 0 });
      restored(draft.at, put(draft));
      flush();
    };
    store.discard(key());
    form.reset();
    say("");
    replace(draft && line(element, "The draft is discarded.", [["Undo", undo]]));
    form.focus();
  }

  function restored(at, { isMoved }) {
    const text = `Draft restored: what you typed ${ago(at)} is back${isMoved ? ". It was changed meanwhile; when you save you see both versions." : "."}`;
    replace(line(element, text, [["Discard", startAnew]]));
  }

  function put(draft) {
    const isMoved = draft.itemVersion && draft.itemVersion !== form.version();
    form.put(draft);
    return { isMoved };
  }

  function restore() {
    const draft = store.read(key());
    if (!draft) return;
    const how = put(draft);
    if (!form.isTyped()) return store.forget(key());
    restored(draft.at, how);
    say(store.isUp(draft) ? SAID.up : SAID.here);
    if (draft.sent) store.write(key(), { ...draft, sent: false }); // the form is here again: it was not saved
    chooseEarlier();
    if (!store.isUp(draft)) up();
  }

  function adopt() {
    const [latest] = store.left(deal, name, (id) => living.has(id) || id === tab);
    if (!latest || !store.write(key(), store.read(latest))) return false;
    store.forget(latest);
    return true;
  }

  // Go on here with what stands on the server.
  async function goOn(summary) {
    const there = await store.get(summary.id);
    if (!there) return replace(line(element, "That draft cannot be read just now. Try again in a moment.", [["Try again", () => goOn(summary)]]));
    const { fields, drawn, item_version: itemVersion, version } = there;
    const at = new Date(there.updated_at).getTime();
    const draft = { at, sent: false, fields, drawn, itemVersion, name: there.name, version, acked: version };
    store.write(key(), draft);
    restored(at, put(draft));
    say(SAID.up);
    form.focus();
  }

  function offer(summary) {
    const where = living.has(summary.writer) ? "in another tab" : place(summary);
    const text = `You were writing this ${where} ${ago(new Date(summary.updated_at))}${summary.first_words ? `: “${summary.first_words}”` : "."}`;
    replace(line(element, text, [["Continue here", () => goOn(summary)], ["All drafts", `${root}/drafts`]]));
  }

  // What other devices, and this one before it was signed out, have left on the server.
  async function lookThere() {
    const own = store.read(key());
    const there = await store.find(deal, name);
    if (!there || store.read(key())?.version !== own?.version) return;
    const address = new URL(location.href);
    const asked = Number(address.searchParams.get("draft"));
    address.searchParams.delete("draft");
    history.replaceState(history.state, "", address); // a reload brings back what is here by then
    const mine = own && there.find((each) => each.name === own.name);
    if (mine && mine.version > own.acked && mine.writer !== tab) {
      if (store.isUp(own)) offer(mine); // else sending it shows both
    } else if (own && own.acked && store.isUp(own) && !mine && notice && !form.isUnsaved) {
      store.forget(key());
      form.reset();
      say("");
      replace(line(element, "What you had typed here was saved or discarded elsewhere meanwhile.", []));
    }
    const others = there.filter((each) => !isNew || !living.has(each.writer));
    const wanted = others.find((each) => each.id === asked);
    if (wanted && (own ? own.name !== wanted.name && store.isUp(own) : !form.isTyped())) {
      form.reset(); // what is up stays there
      goOn(wanted);
    } else if (!own && !form.isTyped() && others.length) offer(others[0]);
  }

  function meet(current) {
    const names = Object.keys({ ...form.typed(), ...current.fields });
    const said = (name) => current.fields[name] ?? current.drawn[name] ?? form.begun[name] ?? "";
    const mine = form.values();
    const differing = names.filter((name) => name in mine && mine[name] !== said(name));
    const theirs = Object.fromEntries(differing.map((name) => [name, said(name)]));
    const onChosen = (taken) => {
      choice = null;
      form.put({ fields: taken, drawn: {}, itemVersion: null });
      const here = store.read(key());
      store.write(key(), { ...here, earlier: undefined, name: current.name, acked: current.version, version: Math.max(here.version, current.version) + 1 });
      save();
      up();
    };
    replace(null);
    choice?.remove();
    choice = choose(element, mine, theirs, current, onChosen);
  }

  // Typed into the page before what had been typed earlier could be put back. Both are kept until one is chosen.
  function meetEarlier() {
    const earlier = store.read(key());
    const mine = form.typed();
    put(earlier);
    form.put({ fields: mine, drawn: {}, itemVersion: null });
    if (Object.keys(mine).some((name) => (earlier.fields[name] ?? mine[name]) !== mine[name])) store.write(key(), { ...earlier, earlier });
    chooseEarlier();
    flush();
  }

  function chooseEarlier() {
    const { earlier } = store.read(key());
    if (earlier) meet({ ...earlier, version: earlier.acked, updated_at: earlier.at, device: "this browser" });
  }

  // What cannot work is not offered, and says why.
  function setReason(text) {
    for (const button of buttons) button.disabled = Boolean(text);
    reason.textContent = text;
    reason.hidden = !text;
  }
  const reason = document.createElement("p");
  reason.className = "banner amber draft-reason";
  reason.setAttribute("role", "status");
  reason.hidden = true;
  element.querySelector(".card-foot, .sheet-foot")?.before(reason);
  const showAway = () => isLost || setReason(store.isAway() ? (navigator.onLine ? AWAY.server : AWAY.offline) : "");

  function heard({ outcome, current }) {
    const draft = store.read(key());
    if (outcome === "moved") meet(current);
    else if (outcome === "gone") {
      isLost = true;
      setReason("You no longer have access to this deal. What you typed is still here: copy it. It cannot be saved.");
    }
    if (draft) say(outcome === "up" ? (store.isUp(draft) ? SAID.up : "") : (SAID[outcome] ?? SAID.here));
  }

  watchSaves(element);
  // What the form was written from ends with it.
  const mark = Object.assign(document.createElement("input"), { type: "hidden", name: "draft" });
  element.append(mark);
  let isServed = false; // asked, and answered: the form may go
  let isAsking = false;
  async function sending(event) {
    // What was typed last goes with the form: to keep it beside that would bring back what is saved.
    clearTimeout(later);
    clearTimeout(atLast);
    atLast = undefined;
    save(true);
    const draft = store.read(key());
    if (draft) mark.value = `${draft.name}:${draft.acked}:${tab}`;
    if (isServed) return;
    // A form that is sent into nothing leaves its page. It stays instead, and goes by itself when it can.
    event.preventDefault();
    if (isAsking) return;
    isAsking = true;
    const { submitter } = event;
    const send = () => {
      setReason("");
      isServed = true;
      element.requestSubmit(submitter);
    };
    if (await store.look()) return send();
    setReason(`${navigator.onLine ? "Holdfast cannot be reached" : "You are offline"}. This is not saved yet: it is sent by itself as soon as that works.`);
    document.addEventListener("holdfast:back", send, { once: true });
  }

  // Refused by the server, or typed before this script came. A browser that shows a page again fills it in itself.
  const isFilledIn = performance.getEntriesByType("navigation")[0]?.type !== "navigate";
  if (form.isUnsaved || (form.isTyped() && !store.read(key()))) flush();
  else if (form.isTyped() && !isFilledIn) meetEarlier();
  else restore();

  element.addEventListener("input", typed);
  // Who edits their own text has chosen it.
  element.addEventListener("input", ({ target }) => {
    const mine = target.closest(".versions")?.querySelector('[type=radio][value="mine"]');
    if (mine && target.type !== "radio") mine.checked = true;
  });
  element.addEventListener("submit", sending);
  for (const link of element.querySelectorAll("[data-discard]")) {
    link.addEventListener("click", () => {
      store.discard(key());
      store.stop();
    });
  }
  document.addEventListener("holdfast:draft", ({ detail }) => detail.key === key() && heard(detail));
  for (const change of ["away", "back"]) document.addEventListener(`holdfast:${change}`, () => isAsking || showAway());
  document.addEventListener("holdfast:leaving", () => save());
  if (store.isAway()) showAway();
  // A closed or discarded tab does not wait for the pause.
  const leave = () => {
    if (store.read(key())?.sent || !form.isTyped()) return;
    if (save()) up({ keepalive: true });
  };
  addEventListener("pagehide", leave);
  // On a phone what is out of sight may stand still from here on, and end unheard.
  document.addEventListener("visibilitychange", () => document.visibilityState === "hidden" && leave());
  return {
    isTyped: form.isTyped,
    isKept: () => Boolean(store.read(key())),
    lookThere,
    adopt: () => adopt() && restore(),
    copied() {
      const { version, acked, name: named } = store.read(store.keyOf(deal, name, before)) ?? {};
      if (!isNew && acked) store.write(key(), { ...store.read(store.keyOf(deal, name, before)), version, acked, name: named });
      flush();
    },
  };
}

let before; // the id of the tab this one was copied from
async function meetOthers(kept) {
  channel?.postMessage("who?");
  await new Promise((met) => setTimeout(met, ANSWERS));
  const wasCopied = living.has(tab); // a duplicated tab comes with the id of the first
  before = tab;
  if (wasCopied) nameTab();
  for (const form of kept) {
    if (wasCopied && form.isTyped()) form.copied();
    else if (!form.isTyped() && !form.isKept()) form.adopt();
    form.lookThere();
  }
}

try {
  nameTab(sessionStorage.getItem(TAB) ?? undefined);
} catch {
  nameTab();
}
store.forgetOthersAndOld();
forgetSaved();
meetOthers([...document.querySelectorAll("form[data-draft]")].map(keep));
store.uploadAll();
