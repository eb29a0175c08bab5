// Starts the page of published systems.

import { setUpPage } from "./page.js";
import { setUpPlot } from "./published_plot.js";
import { store } from "./published_state.js";
import { setUpTables } from "./published_tables.js";

setUpPlot();
setUpTables();
setUpPage(store);
