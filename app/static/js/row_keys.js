// The keys of a page: of what says with aria-keyshortcuts that it has one, and of the rows of a list. js/shell.js loads this with the
// first of them, and knows when nobody is typing.

// The row after or before that with the focus, else the first in sight.
function step(rows, at, way) {
  const bar = document.querySelector(".bar").offsetHeight;
  const row = at < 0 ? rows.find((each) => each.getBoundingClientRect().bottom > bar) : rows[at + way];
  const link = row?.querySelector("a") ?? row;
  if (link && link === row) row.tabIndex = -1;
  link?.focus();
}

export function press({ key, target }) {
  // As its button would, which does nothing while it is disabled.
  if (key === "Enter") return target.form.querySelector("button:not([type=button])")?.click();
  const own = document.querySelector(`main [aria-keyshortcuts~="${key}"]`);
  const rows = [...document.querySelectorAll("main [data-row]")];
  const at = rows.findIndex((row) => row.contains(document.activeElement));
  const link = rows[at]?.querySelector("[data-edit]");
  if (own) own.matches("a, button") ? own.click() : own.querySelector("input:not([type=hidden])").focus();
  else if (key === "j") step(rows, at, 1);
  else if (key === "k") step(rows, at, -1);
  else if (key === "x") rows[at]?.querySelector("button.tick-box, .tick input")?.click();
  else if (key === "e" && link) location.assign([link.href, link.dataset.edit].filter(Boolean).join("/"));
}
