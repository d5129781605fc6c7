// Replay and resume: asks for a token, sends the request, and shows the result.

import { refreshSoon } from "./refresh.js";

const TOKEN = "job-monitor-token";

// The result of the first attempt after a resume.
const RESUMED = {
  parked: "was parked again",
  failing: "the first delivery failed",
  delivered: " and takes deliveries",
  idle: "; nothing waits for it",
  unknown: "; the first delivery is still under way",
};

const ACTS = {
  replay: {
    title: (sink) => `Replay to ${sink}`,
    what: (sink) => `Every dead delivery of ${sink} is sent again, in order and marked as replayed.`,
    button: "Replay",
    request: (sink) => ["/api/v1/replay", { sink }],
    done: ({ count }) => ["good", `${count} ${count === 1 ? "delivery" : "deliveries"} will be sent again.`],
  },
  resume: {
    title: (sink) => `Resume ${sink}`,
    what: (sink) => `${sink} is parked. When you resume it, its waiting deliveries are sent, the oldest first.`,
    button: "Resume",
    request: (sink) => [`/api/v1/sinks/${encodeURIComponent(sink)}/resume`, {}],
    done: ({ resumed, outcome, error }) =>
      outcome === "parked" || outcome === "failing"
        ? ["bad", `It was resumed, and ${RESUMED[outcome]}: ${error}`]
        : resumed
          ? ["good", `It is resumed${RESUMED[outcome]}.`]
          : ["good", "It was no longer parked."],
  },
};

export function actions() {
  const dialog = document.getElementById("ask");
  if (!dialog) return;
  let chosen = null;
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-act]");
    if (!button) return;
    chosen = { act: ACTS[button.dataset.act], sink: button.dataset.sink };
    open(chosen);
  });
  document.getElementById("ask-close").addEventListener("click", () => dialog.close());
  document.getElementById("ask-form").addEventListener("submit", (event) => {
    event.preventDefault();
    perform(chosen);
  });
}

function open({ act, sink }) {
  text("ask-title", act.title(sink));
  text("ask-what", act.what(sink));
  text("ask-do", act.button);
  outcome("", "");
  document.getElementById("ask-token").value = sessionStorage.getItem(TOKEN) ?? "";
  document.getElementById("ask-do").disabled = false;
  document.getElementById("ask").showModal();
}

async function perform({ act, sink }) {
  const [address, body] = act.request(sink);
  const token = document.getElementById("ask-token").value.trim();
  const button = document.getElementById("ask-do");
  const headers = { "Content-Type": "application/json" };
  if (token) headers.Authorization = `Bearer ${token}`;
  button.disabled = true;
  outcome("", "Waiting for the result …");
  try {
    const answer = await fetch(address, { method: "POST", headers, body: JSON.stringify(body) });
    const content = await answer.json().catch(() => ({}));
    if (answer.ok) {
      if (token) sessionStorage.setItem(TOKEN, token);
      outcome(...act.done(content));
    } else {
      if (answer.status === 401) sessionStorage.removeItem(TOKEN);
      outcome("bad", `Refused: ${content.detail ?? content.title ?? `status ${answer.status}`}`);
      button.disabled = false;
    }
  } catch {
    outcome("bad", "The monitor did not answer.");
    button.disabled = false;
  }
  refreshSoon();
}

function outcome(level, words) {
  const shown = document.getElementById("ask-outcome");
  shown.className = level ? `outcome is-${level}` : "outcome";
  shown.textContent = words;
}

function text(id, words) {
  document.getElementById(id).textContent = words;
}
