// What happens in the other tabs of this browser, and on the server, told in this one. Nothing here changes what a page shows
// or which deal it is about: it says what happened and offers to go there.
//
// One tab, whoever holds the lock, keeps the one event stream of the browser and passes on what it hears. Browsers have locks for
// https and for this machine; over plain http to another each tab listens for itself while it is seen.

const shell = document.getElementById("shell");
const page = shell.dataset;
const { root } = document.documentElement.dataset;
const { toast } = await import(shell.src);

const pageDeal = Number(page.deal);
const channel = "BroadcastChannel" in window ? new BroadcastChannel(`holdfast${root}-${page.user}`) : null;
const AWAY = 30_000; // ms out of sight after which a deal page asks whether it is still this person's
const RETRY = 10_000;
let current = Number(page.current);
let stayed = 0; // the deal this tab was asked about last and stayed away from
let drawn = current; // what the page came with; the stream's first word may be no newer

// Another tab went to another deal

// The same page of that deal; from elsewhere the page it was left on.
function go(deal) {
  return pageDeal ? `${root}/deals/${deal.id}/${page.page}` : `${root}/deals/${deal.id}`;
}

function hearSelection(deal) {
  const before = current;
  current = deal?.id ?? 0;
  const offer = document.querySelector('[data-kind="elsewhere"]');
  const chip = document.querySelector("[data-current-chip]");
  if (chip) chip.hidden = deal?.id !== pageDeal;
  if (!deal || deal.id === (pageDeal || before)) {
    stayed = 0;
    return offer?.remove();
  }
  if (deal.id === stayed) return;
  stayed = deal.id;
  const here = pageDeal ? ` This tab stays on ${document.querySelector(".rail")?.getAttribute("aria-label") ?? "its deal"}.` : "";
  const actions = [
    ["Stay", () => {}],
    [pageDeal ? "Switch" : `Open ${deal.name}`, go(deal)],
  ];
  toast(`You switched to ${deal.name} in another tab.${here}`, { kind: "elsewhere", actions });
}

function tellSelection() {
  current = Number(page.current);
  if (pageDeal && current === pageDeal && document.visibilityState === "visible") {
    channel?.postMessage({ event: "selection", data: { deal: { id: current, name: page.currentName } } });
  }
}

// Access

async function isGone(dealId) {
  const answer = await fetch(`${root}/api/deals/${dealId}`).catch(() => null);
  await answer?.text();
  return answer?.status === 404;
}

async function sayGone() {
  if (document.querySelector('[data-kind="gone"]')) return;
  const box = toast("This deal is no longer available to you. What you typed is still here to be copied; it can no longer be saved.", {
    kind: "gone",
  });
  box.setAttribute("role", "alert");
  box.classList.add("amber", "toast-tall");
  document.querySelector("[data-switched]")?.classList.add("unsaid");
  const answer = await fetch(`${root}/api/deals/list?sort=recent&limit=4`).catch(() => null);
  const { deals } = answer?.ok ? await answer.json() : { deals: [] };
  const list = document.createElement("ul");
  const others = [...deals.map((deal) => [deal.name, `${root}/deals/${deal.id}`]), ["All deals", `${root}/deals`]];
  for (const [name, address] of others) {
    const row = document.createElement("li");
    const link = document.createElement("a");
    link.href = address;
    link.textContent = name;
    row.append(link);
    list.append(row);
  }
  box.querySelector(".notice-text").append(list);
}

async function sayShared({ deal_id: dealId, role }) {
  if (document.visibilityState !== "visible" || dealId === pageDeal) return;
  const answer = await fetch(`${root}/api/deals/${dealId}`).catch(() => null);
  if (!answer?.ok) return;
  const { deal } = await answer.json();
  toast(`${deal.name} was shared with you as ${role}.`, { kind: `shared-${dealId}`, actions: [["Open", `${root}/deals/${dealId}`]] });
}

function sayRole({ deal_id: dealId, role }) {
  if (dealId !== pageDeal) return;
  toast(`Your access to this deal changed: you see it as ${role} now.`, { kind: "role", actions: [["Load again", () => location.reload()]] });
}

let hiddenAt = 0;
document.addEventListener("visibilitychange", async () => {
  if (document.visibilityState === "hidden") hiddenAt = Date.now();
  else if (pageDeal && hiddenAt && Date.now() - hiddenAt > AWAY && (await isGone(pageDeal))) sayGone();
});

// A grant that runs out by its date is announced by nobody: the page knows when. A day is longer than any timer is trusted with.
async function askOnceOver(left) {
  const wait = Math.min(left, 24 * 3600_000);
  await new Promise((over) => setTimeout(over, wait + 1000));
  if (left > wait) return askOnceOver(left - wait);
  if (await isGone(pageDeal)) sayGone();
}

if (page.accessLeft) askOnceOver(Number(page.accessLeft));

// Notices and the end of the login

async function countUnread() {
  const badge = document.querySelector("[data-unread]");
  if (!badge) return;
  const answer = await fetch(`${root}/api/notices?limit=1&unread=true`).catch(() => null);
  if (!answer?.ok) return;
  const { unread } = await answer.json();
  badge.hidden = !unread;
  badge.textContent = unread > 9 ? "9+" : unread;
  badge.parentElement.setAttribute("aria-label", unread ? `Notices, ${unread} unread` : "Notices");
}

// The inbox that a person really sees is read.
function readInbox() {
  const form = document.querySelector("[data-read]");
  if (!form || document.visibilityState !== "visible") return;
  document.removeEventListener("visibilitychange", readInbox);
  setTimeout(async () => {
    const headers = { "Content-Type": "application/json" };
    const body = JSON.stringify({ up_to: Number(form.dataset.read) });
    const answer = await fetch(`${root}/api/notices/read`, { method: "POST", headers, body }).catch(() => null);
    if (!answer?.ok) return;
    form.hidden = true;
    channel?.postMessage({ event: "notices" });
    countUnread();
  }, 2000);
}

document.addEventListener("visibilitychange", readInbox);
readInbox();

function saySignedOut() {
  const next = encodeURIComponent(location.pathname.slice(root.length) + location.search);
  const text = "You are signed out in this browser. What you typed here stays until you leave this page.";
  toast(text, { kind: "signed-out", actions: [["Sign in", `${root}/login?next=${next}`]] });
}

// A form that is about it says so (js/saves.js). Who comes to the stream may have missed something: the form asks, also one that is
// not ready to be told yet.
function tellForms(edit) {
  document.documentElement.dataset.heard = "";
  document.dispatchEvent(new CustomEvent("holdfast:edited", { detail: edit }));
}

const HEARD = {
  hello: ({ selection }) => {
    tellForms();
    if ((selection?.deal?.id ?? 0) !== drawn) hearSelection(selection?.deal);
    drawn = null;
    countUnread();
  },
  selection: ({ deal }) => hearSelection(deal),
  notices: () => countUnread(),
  "deal.unavailable": ({ deal_id: dealId }) => dealId === pageDeal && sayGone(),
  "deal.shared": sayShared,
  "deal.changed": sayRole,
  "deal.edited": tellForms,
  end: ({ reason }) => reason === "signed_out" && saySignedOut(),
};

function hear(event, data) {
  HEARD[event]?.(data);
}

// The stream

// Returns what ends it.
function listen() {
  let stream;
  let later;
  let isOver = false;

  function open() {
    stream = new EventSource(page.events);
    for (const name of Object.keys(HEARD)) {
      stream.addEventListener(name, (message) => {
        const data = JSON.parse(message.data);
        hear(name, data);
        channel?.postMessage({ event: name, data });
        if (name === "end" && !data.again) stream.close();
      });
    }
    // The browser comes back by itself to a stream that broke off; to one that was refused it does not.
    stream.addEventListener("error", async () => {
      if (stream.readyState !== EventSource.CLOSED) return;
      const answer = await fetch(`${root}/api/me`).catch(() => null);
      if (answer?.status === 401) return saySignedOut();
      if (!isOver) later = setTimeout(open, RETRY);
    });
  }

  open();
  return () => {
    isOver = true;
    clearTimeout(later);
    stream.close();
  };
}

function listenWhileSeen() {
  let end = null;
  const look = () => {
    if (document.visibilityState === "visible") end ??= listen();
    else end = end?.();
  };
  document.addEventListener("visibilitychange", look);
  look();
}

if (channel) channel.onmessage = (message) => hear(message.data.event, message.data.data);
document.addEventListener("holdfast:selected", tellSelection);
tellSelection();
if (page.events && navigator.locks) {
  navigator.locks.request(`holdfast${root}-events-${page.user}`, () => {
    listen();
    return new Promise(() => {}); // until this tab is gone; then the next one listens
  });
} else if (page.events) listenWhileSeen();
