// What every page does: it follows the address, closes its menus, and jumps to the table on request.

import { tooltip } from "./dom.js";

export function setUpPage(store) {
  document.querySelector(".skip").addEventListener("click", (event) => {
    // The address belongs to the state of the page, so the jump is made here.
    event.preventDefault();
    const target = document.querySelector("main .table-scroll");
    target?.focus();
    target?.scrollIntoView();
  });

  // The reader changes the address, or goes back.
  addEventListener("hashchange", () => store.set(store.read()));

  // A menu closes when the reader clicks elsewhere.
  document.addEventListener("click", (event) => {
    for (const menu of document.querySelectorAll("details.menu[open]")) {
      if (!menu.contains(event.target)) menu.open = false;
    }
  });
  addEventListener("scroll", tooltip.hide, { passive: true, capture: true });
}
