// The list of keys, on `?`, and the switch for single keys. Pages may add theirs: <template data-keys-of="Board"> with a <dl>.

const OFF = `holdfast${document.documentElement.dataset.root}-single-keys-off`;
const mac = /Mac|iP(hone|ad)/.test(navigator.platform);

const KEYS = {
  Everywhere: [
    [[mac ? "⌘ K" : "Ctrl K"], "Search, or jump to a deal, a page, an action"],
    [["/"], "Search"],
    [["?"], "This list"],
    [["Esc"], "Close what is open"],
    [["g", "d"], "All deals"],
    [["g", "b"], "Board"],
    [["g", "s"], "Settings"],
    ...(document.querySelector("[data-bell]") ? [[["g", "n"], "Notices"]] : []),
  ],
  "In lists and on items": [
    [["j", "k"], "Next row or item, the one before"],
    [["Enter"], "Open the row"],
    [["x"], "Tick the row"],
    [["e"], "Edit the row or item"],
    [["Alt ↑", "Alt ↓"], "Move the item up or down its checklist, into the next section too"],
    [["c"], "New finding or checklist item"],
    [[mac ? "⌘ Enter" : "Ctrl Enter"], "Save the form"],
  ],
  "In the switcher": [
    [["↑", "↓"], "Move through the deals"],
    [["Enter"], "Switch to the deal"],
    [["Alt P"], "Pin or unpin the deal"],
  ],
};

function node(tag, text = "", className = "") {
  const made = document.createElement(tag);
  made.textContent = text;
  made.className = className;
  return made;
}

function section(title, keys) {
  const list = node("dl", "", "keys");
  for (const [combination, text] of keys) {
    const row = node("div");
    const names = node("dd");
    combination.forEach((key, index) => names.append(index ? " " : "", node("kbd", key)));
    row.append(node("dt", text), names);
    list.append(row);
  }
  const box = node("section");
  box.append(node("h2", title), list);
  return box;
}

function build() {
  const dialog = node("dialog", "", "keys-dialog");
  const head = node("div", "", "dialog-head");
  const close = node("button", "Close", "button");
  const own = [...document.querySelectorAll(".rail [data-go]")].map((link) => [["g", link.dataset.go], link.dataset.jump]);
  const columns = node("div", "", "keys-columns");
  const title = node("h1", "Keyboard");
  title.id = "keys-title";
  dialog.setAttribute("aria-labelledby", title.id);
  close.type = "button";
  close.addEventListener("click", () => dialog.close());
  head.append(title, close);
  for (const [name, keys] of Object.entries(KEYS)) columns.append(section(name, keys));
  if (own.length) columns.append(section("In a deal", own));
  for (const more of document.querySelectorAll("template[data-keys-of]")) {
    const pairs = [...more.content.querySelectorAll("div")].map((row) => [
      [...row.querySelectorAll("kbd")].map((key) => key.textContent),
      row.querySelector("dt").textContent,
    ]);
    columns.append(section(more.dataset.keysOf, pairs));
  }
  const label = node("label", "", "check");
  const box = node("input");
  box.type = "checkbox";
  box.checked = !localStorage.getItem(OFF);
  box.addEventListener("change", () => (box.checked ? localStorage.removeItem(OFF) : localStorage.setItem(OFF, "1")));
  label.append(box, node("span", "Single keys (/, ?, g …) are on. Turn them off if you dictate, or type them by accident."));
  dialog.append(head, columns, label);
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  document.body.append(dialog);
  return dialog;
}

const dialog = build();

export function open() {
  if (!dialog.open) dialog.showModal();
}
