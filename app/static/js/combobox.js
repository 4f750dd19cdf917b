// A field with a list of choices under it, as ARIA's combobox has it. The switcher and the palette are made of it.
//
//   combobox({ input, list, status, search, choose, close })
//
// `search(text)` answers, now or later, { groups: [{ label, items }], nothing }; an item is { key, name, note, hue, icon, pinned, … }.
// `choose(item)` is called for Enter and a click, `close()` for Esc.

const PAUSE = 120; // ms of quiet before a search: a fast typist asks once
const { root } = document.documentElement.dataset;
const SVG = "http://www.w3.org/2000/svg";

export function initials(name) {
  const words = name.match(/[\p{L}\p{N}]+/gu) ?? [];
  const letters = words.length > 1 ? [...words[0]][0] + [...words[1]][0] : [...(words[0] ?? "?")].slice(0, 2).join("");
  return letters.toUpperCase();
}

export function element(tag, className = "", text = "") {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
}

export function icon(name) {
  const sprite = document.querySelector("svg use").getAttribute("href").split("#")[0];
  const made = document.createElementNS(SVG, "svg");
  const use = document.createElementNS(SVG, "use");
  made.setAttribute("class", "icon");
  made.setAttribute("aria-hidden", "true");
  use.setAttribute("href", `${sprite}#${name}`);
  made.append(use);
  return made;
}

export function combobox({ input, list, status, search, choose, close }) {
  let items = [];
  let active = -1;
  let asked = 0;
  let shown = null; // the text the list answers
  let timer;

  list.id ||= `choices-${Math.random().toString(36).slice(2, 8)}`;
  list.setAttribute("role", "listbox");
  list.setAttribute("aria-label", "Choices");
  input.setAttribute("role", "combobox");
  input.setAttribute("aria-controls", list.id);
  input.setAttribute("aria-autocomplete", "list");
  input.setAttribute("aria-expanded", "false");

  const options = () => list.querySelectorAll("[role=option]");

  function point(index) {
    const all = options();
    all[active]?.setAttribute("aria-selected", "false");
    active = all.length ? (index + all.length) % all.length : -1;
    const option = all[active];
    if (!option) return input.removeAttribute("aria-activedescendant");
    option.setAttribute("aria-selected", "true");
    option.scrollIntoView({ block: "nearest" });
    input.setAttribute("aria-activedescendant", option.id);
  }

  function optionOf(item, index) {
    const made = element("div", "item");
    made.id = `${list.id}-${index}`;
    made.setAttribute("role", "option");
    made.setAttribute("aria-selected", "false");
    if (item.hue !== undefined) {
      made.append(element("span", `avatar hue-${item.hue}`, initials(item.name)));
      made.firstChild.setAttribute("aria-hidden", "true");
    } else if (item.icon) made.append(item.icon);
    made.append(element("span", "truncate", item.name));
    if (item.note) made.append(element("span", "item-end", item.note));
    if (item.after) made.append(item.after());
    made.addEventListener("pointermove", () => active !== index && point(index));
    made.addEventListener("click", (event) => event.target.closest("[data-after]") || choose(item));
    return made;
  }

  function show(text, { groups, nothing }) {
    shown = text;
    items = [];
    list.replaceChildren();
    for (const group of groups.filter((each) => each.items.length)) {
      const box = element("div");
      const label = element("p", "panel-label", group.label);
      label.id = `${list.id}-${group.label.replace(/\W+/g, "-")}`;
      box.setAttribute("role", "group");
      box.setAttribute("aria-labelledby", label.id);
      label.setAttribute("role", "presentation");
      box.append(label, ...group.items.map((item) => optionOf(item, items.push(item) - 1)));
      list.append(box);
    }
    // A listbox without options is none.
    list.setAttribute("role", items.length ? "listbox" : "group");
    if (!items.length) list.append(element("p", "switcher-note", nothing));
    status.textContent = items.length ? `${items.length} ${items.length === 1 ? "choice" : "choices"}` : nothing;
    active = -1;
    point(Math.max(0, items.findIndex((item) => !item.isHere)));
  }

  async function look() {
    const text = input.value.trim();
    const turn = ++asked;
    const found = await search(text);
    if (turn === asked && found) show(text, found);
  }

  // Who types fast and presses a key means what they typed, not what the list still shows.
  async function meant() {
    clearTimeout(timer);
    if (shown !== input.value.trim()) await look();
    return shown === input.value.trim() ? items[active] : undefined;
  }

  async function enter() {
    const item = await meant();
    if (item) choose(item);
  }

  input.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(look, PAUSE);
  });

  input.addEventListener("keydown", (event) => {
    if (event.isComposing) return;
    if (event.key === "ArrowDown") point(active + 1);
    else if (event.key === "ArrowUp") point(active < 0 ? -1 : active - 1);
    else if (event.key === "PageDown") point(Math.min(active + 8, options().length - 1));
    else if (event.key === "PageUp") point(Math.max(active - 8, 0));
    else if (event.key === "Home" && !input.value) point(0);
    else if (event.key === "End" && !input.value) point(-1);
    else if (event.key === "Enter") enter();
    else if (event.key === "Escape") close();
    else if (event.key.toLowerCase() === "p" && event.altKey) meant().then((item) => item?.toggle?.());
    else return;
    event.preventDefault();
    event.stopPropagation();
  });

  return {
    open() {
      input.setAttribute("aria-expanded", "true");
      look();
    },
    shut() {
      input.setAttribute("aria-expanded", "false");
      input.value = "";
      shown = null;
    },
    refresh: look,
    enter,
  };
}

// Deals as items: those of the list's API, or those the page came with.

const LIMIT = 8;

// What an address below /api/deals/ answers; null where it cannot be asked.
export async function ask(path, query) {
  const answer = await fetch(`${root}/api/deals/${path}?${new URLSearchParams(query)}`).catch(() => null);
  if (answer?.status === 401) location.reload();
  return answer?.ok ? answer.json() : null;
}

export async function findDeals(text) {
  return (await ask("list", { limit: LIMIT, sort: "match", archived: "all", q: text }))?.deals ?? null;
}

export function dealsAtHand() {
  return [...document.querySelectorAll("[data-switcher-list] button[name=deal_id]")].map((button) => ({
    id: Number(button.value),
    name: button.querySelector(".truncate").textContent,
    is_pinned: "pinned" in button.dataset,
    is_archived: "archived" in button.dataset,
  }));
}

export function dealItem(deal, here) {
  const isHere = deal.id === here;
  const note = isHere ? "open now" : deal.is_archived ? "archived" : (deal.role ?? "");
  return { key: deal.id, name: deal.name, hue: deal.id % 12, note, isHere, deal };
}

export function switchTo(dealId) {
  const form = document.querySelector("[data-switcher-form]");
  const field = element("input");
  field.type = "hidden";
  field.name = "deal_id";
  field.value = dealId;
  form.append(field);
  form.submit();
}
