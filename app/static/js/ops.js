// Renews the regions of a console page from one event stream, and says whether it does. Everything works without this file.

const control = document.querySelector("[data-watch]");

const WORDS = {
  connecting: "Connecting…",
  live: "Live",
  paused: "Paused",
  hidden: "Paused while this tab is hidden",
  reconnecting: "Reconnecting… the page shows what it last heard",
  ended: "Ended: you may no longer see this. Reload to sign in",
};

let source = null;
let state = "";

function say(next) {
  if (next === state) return;
  state = next;
  control.dataset.state = next;
  control.querySelector("[data-watch-text]").textContent = WORDS[next];
  const paused = next === "paused";
  control.querySelector("[data-watch-toggle-text]").textContent = paused ? "Resume" : "Pause";
}

function open() {
  close();
  say("connecting");
  source = new EventSource(control.dataset.watch);
  source.addEventListener("open", () => say("live"));
  source.addEventListener("regions", (event) => {
    say("live");
    for (const [name, html] of Object.entries(JSON.parse(event.data))) renew(name, html);
  });
  source.addEventListener("end", (event) => {
    const { again } = JSON.parse(event.data);
    if (again) return say("reconnecting");
    close();
    say("ended");
  });
  source.addEventListener("error", () => {
    // The browser comes back by itself, unless it was refused: then the stream is closed for good.
    if (source?.readyState !== EventSource.CLOSED) return say("reconnecting");
    say("reconnecting");
    close();
    setTimeout(() => state === "reconnecting" && open(), 5000);
  });
}

function close() {
  source?.close();
  source = null;
}

// What a person is in the middle of is left alone: an open confirmation, a field with the focus. What they opened stays open.
function renew(name, html) {
  const region = document.querySelector(`[data-region="${name}"]`);
  if (!region || region.querySelector("details.confirm[open], details.confirm-menu[open]")) return;
  if (region.contains(document.activeElement) && document.activeElement.matches("input, select, textarea")) return;
  const opened = [...region.querySelectorAll("details[open][data-keep]")].map((each) => each.dataset.keep);
  const scrolled = [...region.querySelectorAll(".scroll")].map((each) => [each.scrollLeft, each.scrollTop]);
  const focused = pathTo(region, document.activeElement);
  region.innerHTML = html;
  for (const details of region.querySelectorAll("details[data-keep]")) details.open ||= opened.includes(details.dataset.keep);
  region.querySelectorAll(".scroll").forEach((each, index) => scrolled[index] && each.scrollTo(...scrolled[index]));
  if (focused) region.querySelectorAll(FOCUSABLE)[focused.index]?.focus({ preventScroll: true });
}

const FOCUSABLE = "a[href], button, summary, [tabindex]";

function pathTo(region, element) {
  if (!element || !region.contains(element)) return null;
  return { index: [...region.querySelectorAll(FOCUSABLE)].indexOf(element) };
}

if (control) {
  const toggle = control.querySelector("[data-watch-toggle]");
  toggle.hidden = false;
  control.querySelector("[data-watch-reload]").hidden = true;
  toggle.addEventListener("click", () => {
    if (state === "paused") return open();
    close();
    say("paused");
  });
  document.addEventListener("visibilitychange", () => {
    if (state === "paused" || state === "ended") return;
    if (document.visibilityState === "visible") return open();
    close();
    say("hidden");
  });
  window.addEventListener("pagehide", close);
  open();
}

// A filter counts as soon as it is chosen.
document.addEventListener("change", (event) => {
  const form = event.target.closest("form[data-auto]");
  if (!form) return;
  for (const field of form.elements) field.disabled = field.name !== "" && field.value === "";
  form.submit();
});

// A page out of the back/forward cache shows an hour ago.
window.addEventListener("pageshow", (event) => {
  if (event.persisted) location.reload();
});
