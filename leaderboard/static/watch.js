// Starts the page of a run that is not finished. It is loaded again every few seconds, where the reader left it.

import { byId, plural } from "./dom.js";
import { setUpPage } from "./page.js";
import { DATA, store } from "./state.js";
import { setUpSystems } from "./systems.js";
import { setUpPlot } from "./plot.js";
import { setUpDetails } from "./details.js";
import { setUpHistory } from "./search_history.js";

const scrolled = () => document.querySelectorAll(".table-scroll, #details");

// The choices are in the address; places in the page are in the entry of the browser's history, which a reload keeps.
function reload() {
  const places = [...scrolled()].map((node) => [node.scrollLeft, node.scrollTop]);
  history.scrollRestoration = "manual";
  history.replaceState({ page: scrollY, places }, "");
  location.reload();
}

function restorePlaces() {
  const kept = history.state;
  if (!kept) return;
  [...scrolled()].forEach((node, index) => {
    const [left, top] = kept.places[index] || [0, 0];
    node.scrollTo({ left, top, behavior: "instant" });
  });
  scrollTo({ top: kept.page, behavior: "instant" });
  // A reload by the reader is the browser's own.
  history.scrollRestoration = "auto";
  history.replaceState(null, "");
}

// A menu, a list or a selection that the reader has open is not taken away, nor the focus while the reader types.
const PAUSE_MS = 10000;
let touched = -PAUSE_MS;

const isBusy = () => document.hidden || document.querySelector("details.menu[open]") || String(getSelection())
  || (document.activeElement?.matches("select, input") && performance.now() - touched < PAUSE_MS);

function showAge() {
  const node = byId("changed");
  const then = new Date(node.dateTime);
  const seconds = Math.max(0, Math.round((Date.now() - then) / 1000));
  const age = seconds < 120 ? plural(seconds, "second") : plural(Math.round(seconds / 60), "minute");
  node.textContent = `${then.toLocaleTimeString()} (${age} ago)`;
}

function setUpRefresh() {
  showAge();
  setInterval(showAge, 1000);
  // The plots are drawn when the page is laid out, and give it its height.
  requestAnimationFrame(() => requestAnimationFrame(restorePlaces));
  for (const name of ["pointerdown", "keydown"]) addEventListener(name, () => { touched = performance.now(); }, true);
  const every = DATA.watch.refresh_s;
  if (every) setInterval(() => isBusy() || reload(), every * 1000);
}

if (DATA.rows.length) {
  setUpPlot();
  setUpSystems();
  setUpDetails();
}
setUpHistory();
setUpPage(store);
setUpRefresh();
