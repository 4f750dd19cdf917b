// The board: a card goes to another stage by dragging it, by Shift and an arrow, or by its menu. Each is one PATCH with the version
// the card was drawn at; what is refused goes back, with the reason.

const shell = document.getElementById("shell");
const { announce, toast } = await import(shell.src);
const { root } = document.documentElement.dataset;

const columns = [...document.querySelectorAll("[data-stage]")];
const nameOf = (card) => card.querySelector(".card-name").textContent;
const columnOf = (card) => card.closest("[data-stage]");
const titleOf = (column) => column.querySelector("h2").textContent.trim();

function count(column, change) {
  const box = column.querySelector("[data-count]");
  const total = Number(box.dataset.count) + change;
  box.dataset.count = total;
  box.textContent = total.toLocaleString("en");
  column.querySelector("[data-empty]").hidden = total > 0;
}

function place(card, column, before = column.querySelector("[data-card]")) {
  count(columnOf(card), -1);
  column.querySelector("[data-cards]").insertBefore(card, before);
  count(column, 1);
}

async function move(card, column) {
  const home = columnOf(card);
  const next = card.nextElementSibling;
  const hadFocus = card.contains(document.activeElement);
  if (column === home || card.dataset.moving) return;
  card.dataset.moving = "1";
  closeMenu(card);
  place(card, column);
  if (hadFocus) card.querySelector("a").focus();
  const body = JSON.stringify({ stage: column.dataset.stage, version: Number(card.dataset.version) });
  const headers = { "Content-Type": "application/json" };
  const answer = await fetch(`${root}/api/deals/${card.dataset.card}`, { method: "PATCH", headers, body }).catch(() => null);
  const said = await answer?.json().catch(() => null);
  delete card.dataset.moving;
  if (answer?.ok) {
    card.dataset.version = said.deal.version;
    announce(`${nameOf(card)} moved to ${titleOf(column)}`);
    const actions = [["Undo", () => void move(card, home)]];
    return toast(`${nameOf(card)} moved to ${titleOf(column)}`, { kind: "moved", actions, brief: true });
  }
  let text = `${nameOf(card)} could not be moved. It is back where it was; try again in a moment.`;
  if (answer?.status === 409 && said?.current) {
    const now = columns.find((each) => each.dataset.stage === said.current.stage) ?? home;
    card.dataset.version = said.current.version;
    text = `Somebody changed ${nameOf(card)} meanwhile. It is in ${titleOf(now)} now; move it again if you still want to.`;
    if (now !== column) place(card, now, now === home ? next : undefined);
  } else {
    if (answer?.status === 401) return location.reload();
    if ([403, 404].includes(answer?.status)) text = `You can no longer change ${nameOf(card)}. Load the board again to see what you can.`;
    if (answer?.status === 409) text = said?.detail ?? text;
    place(card, home, next?.parentElement === home.querySelector("[data-cards]") ? next : null);
  }
  if (hadFocus) card.querySelector("a").focus();
  toast(text, { kind: "moved" });
  announce(text);
}

// By keyboard

function step(card, key) {
  const at = columns.indexOf(columnOf(card));
  const cards = [...columnOf(card).querySelectorAll("[data-card]")];
  if (key === "ArrowUp" || key === "ArrowDown") return cards[cards.indexOf(card) + (key === "ArrowDown" ? 1 : -1)];
  const way = key === "ArrowRight" ? 1 : -1;
  for (let index = at + way; columns[index]; index += way) {
    const others = columns[index].querySelectorAll("[data-card]");
    if (others.length) return others[Math.min(cards.indexOf(card), others.length - 1)];
  }
}

document.addEventListener("keydown", (event) => {
  const card = event.target.closest?.("[data-card]");
  if (!card || !event.key.startsWith("Arrow") || event.target.matches("select") || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  if (!event.shiftKey) return step(card, event.key)?.querySelector("a").focus();
  const column = columns[columns.indexOf(columnOf(card)) + { ArrowRight: 1, ArrowLeft: -1 }[event.key]];
  if (column && card.draggable) move(card, column);
  else if (!card.draggable) announce(`You cannot move ${nameOf(card)}`);
});

// By its menu

const template = document.querySelector("template[data-mover]");

function closeMenu(card) {
  const form = card.querySelector("form");
  if (!form) return;
  form.remove();
  card.querySelector("[data-move]").hidden = false;
}

document.addEventListener("click", (event) => {
  const link = event.target.closest?.("[data-move]");
  if (!link) return;
  event.preventDefault();
  const card = link.closest("[data-card]");
  const form = template.content.firstElementChild.cloneNode(true);
  const select = form.querySelector("select");
  select.value = columnOf(card).dataset.stage;
  select.setAttribute("aria-label", `Stage of ${nameOf(card)}`);
  link.hidden = true;
  card.append(form);
  select.focus();
  form.addEventListener("keydown", (key) => {
    if (key.key !== "Escape") return;
    key.stopPropagation();
    closeMenu(card);
    link.focus();
  });
});

document.addEventListener("submit", (event) => {
  const card = event.target.closest("[data-card]");
  if (!card) return;
  event.preventDefault();
  const column = columns.find((each) => each.dataset.stage === event.target.elements.stage.value);
  if (column === columnOf(card)) return closeMenu(card);
  move(card, column);
});

// By dragging

let dragged = null;

document.addEventListener("dragstart", (event) => {
  dragged = event.target.closest?.("[data-card][draggable=true]");
  if (!dragged) return;
  event.dataTransfer.effectAllowed = "move";
  event.dataTransfer.setData("text/plain", nameOf(dragged));
  dragged.classList.add("is-dragged");
});

document.addEventListener("dragend", () => {
  dragged?.classList.remove("is-dragged");
  for (const column of columns) column.classList.remove("is-target");
  dragged = null;
});

for (const column of columns) {
  column.addEventListener("dragover", (event) => {
    if (!dragged) return;
    event.preventDefault();
    event.dataTransfer.dropEffect = "move";
    for (const each of columns) each.classList.toggle("is-target", each === column && each !== columnOf(dragged));
  });
  column.addEventListener("drop", (event) => {
    if (!dragged) return;
    event.preventDefault();
    move(dragged, column);
  });
}
