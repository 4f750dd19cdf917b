// Menus close when the person turns elsewhere; notices go without a page load. Everything works without this file.

const menus = () => document.querySelectorAll("details.menu[open]");

document.addEventListener("click", (event) => {
  for (const menu of menus()) if (!menu.contains(event.target)) menu.open = false;
});

document.addEventListener("focusin", (event) => {
  for (const menu of menus()) if (!menu.contains(event.target)) menu.open = false;
});

document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const menu of menus()) {
    menu.open = false;
    menu.querySelector("summary").focus();
  }
});

// The field takes what is typed at once; the rest is half of the weight of the scripts and comes with the first sign of interest.
const switcher = document.querySelector("[data-switcher]");
switcher?.addEventListener("toggle", () => switcher.open && switcher.querySelector("input").focus());
for (const sign of ["pointerenter", "focusin", "toggle"]) {
  switcher?.addEventListener(sign, () => import(switcher.dataset.switcher), { once: true });
}

for (const form of document.querySelectorAll("[data-dismiss]")) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const read = JSON.stringify({ code: form.elements.code.value });
    const headers = { "Content-Type": "application/json" };
    const answer = await fetch("/api/notices/dismiss", { method: "POST", headers, body: read }).catch(() => null);
    if (!answer?.ok) return form.submit();
    form.closest("[data-notice]").remove();
    document.getElementById("main").focus();
  });
}
