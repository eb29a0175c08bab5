// Starts the leaderboard page.

import { setUpPage } from "./page.js";
import { store } from "./state.js";
import { setUpSystems } from "./systems.js";
import { setUpPlot } from "./plot.js";
import { setUpDetails } from "./details.js";
import { setUpHistory } from "./search_history.js";

setUpPlot();
setUpSystems();
setUpDetails();
setUpHistory();
setUpPage(store);
