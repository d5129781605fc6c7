// What a reader can do: each act asks for what it needs, sends one request, and shows the outcome.

import { base } from "./base.js";
import { ACTS } from "./acts.js";
import { refreshSoon } from "./refresh.js";

const TOKEN = "job-monitor-token";
const AUTHOR = "job-monitor-author";

let chosen = null;

export function actions() {
  const dialog = document.getElementById("ask");
  if (!dialog) return;
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-act]");
    if (button) open(ACTS[button.dataset.act], button.dataset);
  });
  document.getElementById("ask-close").addEventListener("click", () => dialog.close());
  document.getElementById("ask-form").addEventListener("submit", (event) => {
    event.preventDefault();
    perform(chosen);
  });
}

function open(act, data) {
  chosen = { act, data };
  text("ask-title", act.title(data));
  text("ask-what", act.what(data));
  text("ask-do", act.button);
  outcome("", []);
  document.getElementById("ask-fields").replaceChildren(...(act.fields ?? []).map((each) => field(each, data)));
  document.getElementById("ask-token").value = sessionStorage.getItem(TOKEN) ?? "";
  document.getElementById("ask-do").disabled = false;
  document.getElementById("ask").showModal();
}

// One labelled input; `list` names a datalist of the page.
function field({ name, label, type = "text", hint, value, ...more }, data) {
  const lines = type === "lines";
  const input = document.createElement(lines ? "textarea" : "input");
  if (!lines) input.type = type;
  input.id = `ask-${name}`;
  input.name = name;
  input.autocomplete = "off";
  for (const [key, each] of Object.entries(more)) input.setAttribute(key, each);
  const given = value?.(data) ?? (name === "author" ? localStorage.getItem(AUTHOR) : "");
  if (type === "checkbox") input.checked = Boolean(given);
  else input.value = given ?? "";
  const caption = document.createElement("label");
  caption.htmlFor = input.id;
  caption.textContent = label;
  const part = document.createElement("div");
  part.className = type === "checkbox" ? "field tick" : "field";
  part.append(...(type === "checkbox" ? [input, caption] : [caption, input]));
  if (hint) {
    const words = document.createElement("p");
    words.className = "hint";
    words.id = `${input.id}-hint`;
    words.textContent = hint;
    input.setAttribute("aria-describedby", words.id);
    part.append(words);
  }
  return part;
}

function values() {
  const found = {};
  for (const input of document.querySelectorAll("#ask-fields input, #ask-fields textarea")) {
    found[input.name] = input.type === "checkbox" ? input.checked : input.value.trim();
  }
  return found;
}

async function perform({ act, data }) {
  const given = values();
  const [method, address, body] = act.request(data, given);
  const token = document.getElementById("ask-token").value.trim();
  const button = document.getElementById("ask-do");
  const headers = body === undefined ? {} : { "Content-Type": "application/json" };
  if (token) headers.Authorization = `Bearer ${token}`;
  button.disabled = true;
  outcome("", ["Waiting for the result …"]);
  try {
    const answer = await fetch(base + address, { method, headers, body: body && JSON.stringify(body) });
    const content = await answer.json().catch(() => ({}));
    if (answer.ok) {
      if (token) sessionStorage.setItem(TOKEN, token);
      if (given.author) localStorage.setItem(AUTHOR, given.author);
      const [level, words] = act.done(content, data);
      outcome(level, [words]);
    } else {
      if (answer.status === 401) sessionStorage.removeItem(TOKEN);
      outcome("bad", refusal(answer.status, content));
      button.disabled = false;
    }
  } catch {
    outcome("bad", ["The monitor did not answer."]);
    button.disabled = false;
  }
  refreshSoon();
}

// What was wrong, and then each single mistake, if there are several or if they say more.
function refusal(status, { detail, title, errors = [] }) {
  const lines = [`Refused: ${detail ?? title ?? `status ${status}`}`];
  for (const { path, name, message, remedy } of errors) {
    const line = [path || name, [message, remedy].filter(Boolean).join("; ")].filter(Boolean).join(": ");
    if (!detail?.includes(message)) lines.push(line);
  }
  return lines;
}

function outcome(level, lines) {
  const shown = document.getElementById("ask-outcome");
  shown.className = level ? `outcome is-${level}` : "outcome";
  shown.replaceChildren(
    ...lines.map((line) => Object.assign(document.createElement("span"), { textContent: line })),
  );
}

function text(id, words) {
  document.getElementById(id).textContent = words;
}
