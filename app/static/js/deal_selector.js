// The header's switcher as a combobox: type-ahead over the deals one may see, arrows, Enter, Esc. Loaded when first needed.

const LIMIT = 8;
const PAUSE = 120; // ms of quiet before a search: a fast typist asks once

const menu = document.querySelector("[data-switcher]");

function initials(name) {
  const words = name.match(/[\p{L}\p{N}]+/gu) ?? [];
  const letters = words.length > 1 ? [...words[0]][0] + [...words[1]][0] : [...(words[0] ?? "?")].slice(0, 2).join("");
  return letters.toUpperCase();
}

function element(tag, className, text = "") {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
}

function combobox(menu) {
  const summary = menu.querySelector("summary");
  const input = menu.querySelector("[data-switcher-input]");
  const form = menu.querySelector("[data-switcher-form]");
  const list = menu.querySelector("[data-switcher-list]");
  const label = menu.querySelector("[data-switcher-label]");
  const status = menu.querySelector("[data-switcher-status]");
  const recent = [...list.querySelectorAll("button")].map((button) => ({
    id: Number(button.value),
    name: button.querySelector(".truncate").textContent,
  }));
  const current = Number(list.dataset.current);
  let active = -1;
  let asked = 0;
  let shown = null; // the text the list answers
  let timer;

  list.id = "switcher-list";
  list.setAttribute("role", "listbox");
  list.setAttribute("aria-labelledby", label.id);
  input.setAttribute("role", "combobox");
  input.setAttribute("aria-controls", list.id);
  input.setAttribute("aria-autocomplete", "list");
  input.setAttribute("aria-expanded", "false");
  input.removeAttribute("name");

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

  function choose(option) {
    const field = element("input", "");
    field.type = "hidden";
    field.name = "deal_id";
    field.value = option.dataset.id;
    form.append(field);
    form.submit();
  }

  function option(deal, index) {
    const made = element("li", "item");
    made.id = `switcher-${index}`;
    made.dataset.id = deal.id;
    made.setAttribute("role", "option");
    made.setAttribute("aria-selected", "false");
    made.append(element("span", `avatar hue-${deal.id % 12}`, initials(deal.name)), element("span", "truncate", deal.name));
    made.firstChild.setAttribute("aria-hidden", "true");
    if (deal.id === current) made.append(element("span", "item-end", "open now"));
    else if (deal.role) made.append(element("span", "item-end", deal.role));
    made.addEventListener("pointermove", () => active !== index && point(index));
    made.addEventListener("click", () => choose(made));
    return made;
  }

  function show(text, deals, heading, nothing) {
    shown = text;
    label.textContent = heading;
    list.replaceChildren(...deals.map(option));
    if (!deals.length) {
      const note = element("li", "switcher-note", nothing);
      note.setAttribute("role", "presentation");
      list.append(note);
    }
    status.textContent = deals.length ? `${deals.length} ${deals.length === 1 ? "deal" : "deals"}` : nothing;
    active = -1;
    // With nothing typed, Enter goes to the deal before this one.
    point(text ? 0 : Math.max(0, deals.findIndex((deal) => deal.id !== current)));
  }

  async function search() {
    const text = input.value.trim();
    const turn = ++asked;
    if (!text && recent.length) return show(text, recent, "Recent", "");
    const answer = await fetch(`/api/deals/list?limit=${LIMIT}&q=${encodeURIComponent(text)}`).catch(() => null);
    if (turn !== asked) return;
    if (answer?.status === 401) return location.reload();
    if (!answer?.ok) return show(text, [], "Deals", "The list cannot be read for a moment. Try again, or open all deals.");
    const { deals } = await answer.json();
    if (turn !== asked) return;
    show(text, deals, text ? "Matches" : "Deals", text ? `No deal of yours matches “${text}”.` : "No deals are shared with you yet.");
  }

  // Who types fast and presses Enter means what they typed, not what the list still shows.
  async function enter() {
    clearTimeout(timer);
    if (shown !== input.value.trim()) await search();
    const option = options()[active];
    if (option && shown === input.value.trim()) choose(option);
  }

  function open() {
    input.setAttribute("aria-expanded", String(menu.open));
    if (menu.open) search();
    else input.value = "";
  }

  menu.addEventListener("toggle", open);

  input.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(search, PAUSE);
  });

  input.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown") point(active + 1);
    else if (event.key === "ArrowUp") point(active < 0 ? -1 : active - 1);
    else if (event.key === "Home" && !input.value) point(0);
    else if (event.key === "End" && !input.value) point(-1);
    else if (event.key === "Enter") enter();
    else if (event.key === "Escape") {
      menu.open = false;
      summary.focus();
    } else return;
    event.preventDefault();
    event.stopPropagation();
  });

  // It may have been opened, and typed into, while this file was on its way.
  open();
}

combobox(menu);
