// Five minutes before the login ends for want of activity, a word about it and a button. All tabs of a person know the latest deadline.

const LEAD = 5 * 60 * 1000;
const LONGEST = 2 ** 31 - 1; // of a timer

const { root } = document.documentElement.dataset;
const box = document.querySelector("[data-timeout]");
const text = box.querySelector("[data-timeout-text]");
const title = box.querySelector("h2");
const stay = box.querySelector("[data-stay]");
const key = `holdfast${root}:until:${box.dataset.user}`;
const left = Number(box.dataset.timeout);
const lead = Math.min(LEAD, left / 2); // a login of a few minutes is not warned of all its life
let until = Date.now() + left;
let dismissed = 0; // the deadline somebody has been told of
let timer;

function known() {
  try {
    return Number(localStorage.getItem(key)) || 0;
  } catch {
    return 0;
  }
}

function remember() {
  try {
    localStorage.setItem(key, String(Math.max(until, known())));
  } catch {
    // without it each tab goes by what it knows itself
  }
}

const clock = (moment) => new Date(moment).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });

function sayEnded() {
  title.textContent = "You are signed out";
  text.textContent = "What you typed is kept on this device. Sign in and go on where you are.";
  const link = document.createElement("a");
  link.className = "button button-primary";
  link.href = `${root}/login?next=${encodeURIComponent(location.pathname.slice(root.length))}`;
  link.textContent = "Sign in";
  stay.replaceWith(link);
  box.hidden = false;
}

function look() {
  clearTimeout(timer);
  until = Math.max(until, known());
  const now = Date.now();
  if (now >= until) return sayEnded();
  if (now >= until - lead) {
    text.textContent = `You will be signed out at ${clock(until)} unless you stay. What you have typed is kept.`;
    box.hidden = dismissed === until;
  } else {
    box.hidden = true;
  }
  timer = setTimeout(look, Math.min(LONGEST, (now >= until - lead ? until : until - lead) - now + 100));
}

stay.addEventListener("click", async () => {
  const answer = await fetch(`${root}/api/auth/stay`, { method: "POST" }).catch(() => null);
  if (answer?.status === 401) return sayEnded();
  if (!answer?.ok) {
    text.textContent = "That did not work just now. Try again in a moment.";
    return;
  }
  const said = await answer.json();
  const before = until;
  until = Date.now() + (new Date(said.signed_in_until) - new Date(said.now));
  remember();
  look();
  if (!box.hidden && until < before + 1000) text.textContent = `This sign-in ends at ${clock(until)} in any case. Save your work, then sign in again.`;
});

box.querySelector("[data-close]").addEventListener("click", () => {
  dismissed = until;
  box.hidden = true;
});

addEventListener("storage", (event) => event.key === key && look());
// A computer that slept fires its timers late.
document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && look());
remember();
look();
