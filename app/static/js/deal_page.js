// A deal page that a person really sees becomes their current deal, and the page they come back to in it. A prefetched,
// prerendered or background page does not.

const modules = document.getElementById("shell").dataset;
const { announce, goes } = await import(document.getElementById("shell").src);

const { root } = document.documentElement.dataset;
const UNDO_MS = 8000; // how long the undo of a switch is offered
const banner = document.querySelector("[data-select]");

function seen() {
  return document.visibilityState === "visible" && !document.prerendering;
}

function say(text) {
  banner.querySelector("[data-select-text]").textContent = text;
  banner.hidden = false;
}

async function selected(answer) {
  const { deal, selected_at: selectedAt } = await answer.json();
  const previousId = Number(modules.current); // as it was when this page was made
  banner.hidden = true;
  document.querySelector("[data-current-chip]")?.removeAttribute("hidden");
  // A selection settles what the notice was about, on the server too.
  document.querySelector("[data-notice]:has([data-dismiss])")?.remove();
  Object.assign(modules, { current: deal.id, currentName: deal.name, selectedAt });
  document.dispatchEvent(new CustomEvent("holdfast:selected"));
  if (!previousId || previousId === deal.id) return;
  const box = document.querySelector("[data-switched]");
  box.classList.remove("unsaid");
  goes(box, UNDO_MS);
  announce(`Switched to ${deal.name}`);
}

async function select() {
  // keepalive: a person who moves on at once has seen this page all the same.
  const answer = await fetch(banner.dataset.select, { method: "POST", keepalive: true }).catch(() => null);
  if (answer?.ok && !("isCurrent" in banner.dataset)) return selected(answer);
  await answer?.text(); // an unread answer keeps its connection
  if ("isCurrent" in banner.dataset) {
    // Only the page is noted; what cannot be noted is no loss that anybody must hear of.
    if (answer?.status === 404) location.reload();
  } else if (answer?.status === 401 || answer?.status === 404) {
    location.reload();
  } else if (answer?.status === 429) {
    say("You switched deals very often just now, so this one could not be remembered yet. Wait a little, then try again.");
  } else {
    say("This could not be remembered as your current deal. The page itself is fine; try again in a moment.");
  }
}

function selectOnceSeen() {
  if (!seen()) return;
  document.removeEventListener("visibilitychange", selectOnceSeen);
  document.removeEventListener("prerenderingchange", selectOnceSeen);
  select();
}

if (banner) {
  document.addEventListener("visibilitychange", selectOnceSeen);
  document.addEventListener("prerenderingchange", selectOnceSeen);
  selectOnceSeen();
}
