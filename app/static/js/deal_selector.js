// The header's switcher as a combobox: type-ahead over the deals one may see, pins in place. Loaded when first needed.

const modules = document.getElementById("shell").dataset;
const { combobox, dealItem, dealsAtHand, element, findDeals, icon, switchTo } = await import(modules.combobox);

const menu = document.querySelector("[data-switcher]");
const input = menu.querySelector("[data-switcher-input]");
const here = Number(modules.deal || modules.current);
const atHand = dealsAtHand();

function pinButton(item) {
  // Not a button: an option holds nothing that takes the focus. By keyboard it is Alt P.
  const button = element("span", "item-pin");
  const say = () => {
    button.replaceChildren(icon("pin"));
    button.classList.toggle("is-pinned", item.deal.is_pinned);
    button.title = `${item.deal.is_pinned ? "Unpin" : "Pin"} ${item.name} (Alt P)`;
  };
  button.dataset.after = "";
  button.setAttribute("aria-hidden", "true");
  say();
  item.toggle = async () => {
    const answer = await fetch(`${document.documentElement.dataset.root}/api/deals/${item.deal.id}/pin`, { method: item.deal.is_pinned ? "DELETE" : "PUT" }).catch(() => null);
    if (!answer?.ok) return say();
    item.deal.is_pinned = !item.deal.is_pinned;
    const known = atHand.find((deal) => deal.id === item.deal.id);
    if (known) known.is_pinned = item.deal.is_pinned;
    else atHand.push(item.deal);
    say();
    menu.querySelector("[data-switcher-status]").textContent = `${item.name} ${item.deal.is_pinned ? "pinned" : "no longer pinned"}`;
    if (!input.value) box.refresh();
  };
  button.addEventListener("click", (event) => {
    event.stopPropagation();
    item.toggle();
  });
  return button;
}

function itemOf(deal) {
  const item = dealItem(deal, here);
  item.after = () => pinButton(item);
  return item;
}

function groupsAtHand() {
  const pinned = atHand.filter((deal) => deal.is_pinned);
  const recent = atHand.filter((deal) => !deal.is_pinned);
  return [
    { label: "Pinned", items: pinned.map(itemOf) },
    { label: "Recent", items: recent.map(itemOf) },
  ];
}

const box = combobox({
  input,
  list: menu.querySelector("[data-switcher-list]"),
  status: menu.querySelector("[data-switcher-status]"),
  choose: (item) => switchTo(item.deal.id),
  close() {
    menu.open = false;
    box.shut(); // the event `toggle` comes later, or not at all where the menu is opened again at once
    menu.querySelector("summary").focus();
  },
  async search(text) {
    if (!text && atHand.length) return { groups: groupsAtHand(), nothing: "" };
    const deals = await findDeals(text);
    if (!deals) return { groups: [], nothing: "The list cannot be read for a moment. Try again, or open all deals." };
    const nothing = text ? `No deal of yours matches “${text}”.` : "No deals are shared with you yet.";
    return { groups: [{ label: text ? "Matches" : "Deals", items: deals.map(itemOf) }], nothing };
  },
});

input.removeAttribute("name");
const toggled = () => (menu.open ? box.open() : box.shut());
menu.addEventListener("toggle", toggled);
// It may have been opened, and typed into, while this file was on its way.
if (menu.open) toggled();
