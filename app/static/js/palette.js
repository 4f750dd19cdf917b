// The palette on Ctrl/⌘ K: deals, the pages of the deal at hand, what is in it, and what can be done. Links and buttons marked
// data-jump in the page are its actions, so it offers exactly what the page does.

const modules = document.getElementById("shell").dataset;
const { ask, combobox, dealItem, dealsAtHand, element, findDeals, icon, switchTo } = await import(modules.combobox);

const { root } = document.documentElement.dataset;
const here = Number(modules.deal || modules.current);
const dialog = element("dialog", "palette");
const input = element("input", "input");
const list = element("div", "switcher-list");
const status = element("p", "sr-only");
const foot = element("p", "palette-foot");

input.type = "search";
input.placeholder = "Search or jump to…";
input.autocomplete = "off";
input.maxLength = 200;
input.setAttribute("aria-label", "Search deals, or jump to a page or an action");
dialog.setAttribute("aria-label", "Search or jump to");
status.setAttribute("aria-live", "polite");
for (const [key, text] of [["↑↓", "choose"], ["Enter", "go"], ["Esc", "close"]]) {
  foot.append(element("kbd", "", key), ` ${text}  `);
}
const box = element("div", "search");
box.append(icon("search"), input);
dialog.append(box, list, status, foot);
document.body.append(dialog);

function jumps(selector) {
  return [...document.querySelectorAll(selector)].map((target) => ({
    key: target,
    name: target.dataset.jump || target.textContent.replace(/\?$/, "").trim(),
    icon: target.querySelector("svg")?.cloneNode(true),
    note: target.dataset.go ? `g ${target.dataset.go}` : "",
    isHere: target.getAttribute("aria-current") === "page",
    target,
  }));
}

const pages = jumps(".rail [data-jump]");
const actions = jumps("[data-jump]").filter((action) => !action.target.closest(".rail"));
const dealName = document.querySelector(".rail")?.getAttribute("aria-label");

function fits(item, text) {
  const name = item.name.toLowerCase();
  return text.toLowerCase().split(/\s+/).every((word) => name.includes(word));
}

// A word of its name begins so.
function begins(item, text) {
  return ` ${item.name.toLowerCase()}`.includes(` ${text.toLowerCase()}`);
}

// What is in the deal at hand: each a page of it.
const FEW = 5;
const THINGS = [
  { page: "findings", field: "findings", label: "Findings", icon: "flag", name: (each) => `#${each.number} ${each.title}`, note: (each) => each.severity },
  { page: "checklist", field: "items", label: "Checklist", icon: "list-checks", name: (each) => each.title, note: (each) => each.section },
];

async function findThings({ page, field, label, icon: picture, name, note }, text) {
  const answer = await ask(`${here}/${page}`, { q: text, limit: FEW });
  const items = (answer?.[field] ?? []).slice(0, FEW).map((each) => {
    const address = `${root}/deals/${here}/${page}/${each.id}`;
    return { key: address, name: name(each), note: note(each), icon: icon(picture), address };
  });
  return { label, items };
}

async function search(text) {
  const ownPages = { label: `In ${dealName}`, items: pages };
  const ownActions = { label: "Actions", items: actions };
  if (!text) {
    const deals = dealsAtHand();
    const groups = [
      { label: "Pinned", items: deals.filter((deal) => deal.is_pinned).map((deal) => dealItem(deal, here)) },
      { label: "Recent", items: deals.filter((deal) => !deal.is_pinned).slice(0, 6).map((deal) => dealItem(deal, here)) },
      ownPages,
      ownActions,
    ];
    return { groups, nothing: "" };
  }
  const [deals, ...things] = await Promise.all([findDeals(text), ...(here ? THINGS : []).map((each) => findThings(each, text))]);
  const groups = [ownPages, ownActions].map((group) => ({ ...group, items: group.items.filter((item) => fits(item, text)) }));
  const found = { label: "Deals", items: (deals ?? []).map((deal) => dealItem(deal, here)) };
  // Deals come first, unless they only mention what is the name of a page or an action.
  const areMentions = !found.items.some((item) => begins(item, text)) && groups.some((group) => group.items.some((item) => begins(item, text)));
  groups.splice(areMentions ? groups.length : 0, 0, found);
  groups.push(...things);
  const all = `${root}/deals?q=${encodeURIComponent(text)}`;
  if (deals?.length) found.items.push({ key: all, name: `All deals that match “${text}”`, icon: icon("list"), address: all });
  return { groups, nothing: deals ? `Nothing matches “${text}”.` : "Deals cannot be searched for a moment. Try again." };
}

function choose(item) {
  dialog.close();
  if (item.deal) switchTo(item.deal.id);
  else if (item.address) location.assign(item.address);
  else item.target.click();
}

const choices = combobox({ input, list, status, search, choose, close: () => dialog.close() });
dialog.addEventListener("close", choices.shut);
dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());

// `early`: what was typed before this was there.
export function open(early) {
  if (dialog.open) return dialog.close();
  dialog.showModal();
  if (early) input.value = early.text;
  choices.open();
  if (early?.enter) choices.enter();
}
