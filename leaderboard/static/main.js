// Starts the page and follows the address when the reader changes it or goes back.

import { tooltip } from "./dom.js";
import { readAddress, store } from "./state.js";
import { setUpSystems } from "./systems.js";
import { setUpPlot } from "./plot.js";
import { setUpDetails } from "./details.js";
import { setUpHistory } from "./search_history.js";

setUpPlot();
setUpSystems();
setUpDetails();
setUpHistory();

document.querySelector(".skip").addEventListener("click", (event) => {
  // The address belongs to the state of the page, so the jump is made here.
  event.preventDefault();
  const target = document.querySelector("#systems .table-scroll");
  target.focus();
  target.scrollIntoView();
});

addEventListener("hashchange", () => store.set(readAddress()));

// A menu closes when the reader clicks elsewhere.
document.addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    if (!menu.contains(event.target)) menu.open = false;
  }
});
addEventListener("scroll", tooltip.hide, { passive: true, capture: true });
