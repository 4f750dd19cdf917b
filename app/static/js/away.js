// A page that could not be shown because the database is away tries again by itself, unless somebody is typing.

const FIRST = 1000;
const MOST = 15_000;
const { root } = document.documentElement.dataset;
const box = document.querySelector("[data-away]");
const text = box.querySelector("[data-away-text]");
let wait = FIRST;
let timer;

function isDirty() {
  return [...document.querySelectorAll("input, textarea")].some((field) => field.type !== "hidden" && field.value !== field.defaultValue);
}

function back() {
  // What was sent is sent again by its person only; a page being read is loaded again.
  if (box.dataset.away === "read" && !isDirty()) return location.reload();
  text.textContent = box.dataset.away === "read" ? "Holdfast is back. Load the page again when you are ready." : "Holdfast is back. Send it again now.";
}

async function look() {
  clearTimeout(timer);
  const answer = await fetch(`${root}/health/ready`).catch(() => null);
  await answer?.text();
  if (answer?.ok) return back();
  wait = Math.min(wait * 2, MOST);
  next();
}

// Not all at the same moment, when a whole office waits.
function next() {
  timer = setTimeout(() => document.visibilityState === "visible" && look(), wait * (0.75 + Math.random() / 2));
}

document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && look());
next();
