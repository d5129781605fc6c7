// The page works without this; with it, it is live.

import { actions } from "./actions.js";
import { filter } from "./filter.js";
import { listen } from "./live.js";
import { refreshSoon } from "./refresh.js";
import { setClock, tick } from "./ticking.js";

const SECOND = 1000;
// Deliveries, polls and quotas change without an event.
const ROUND = 10 * SECOND;

// Buttons that act need scripts: without them they are not shown.
document.documentElement.classList.add("script");
setClock(document.body.dataset.now);
tick();
setInterval(tick, SECOND);
setInterval(() => document.hidden || refreshSoon(), ROUND);
document.addEventListener("visibilitychange", () => document.hidden || refreshSoon());
filter();
actions();
listen();
