// Copies a link that is shown once. Without this file it is selected and copied by hand.

const button = document.querySelector("[data-copy]");
const source = document.querySelector("[data-copy-source]");

if (button && source && navigator.clipboard) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    source.select();
    try {
      await navigator.clipboard.writeText(source.value);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Press Ctrl+C";
    }
  });
}
source?.addEventListener("focus", () => source.select());
