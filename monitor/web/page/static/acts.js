// The acts of the page, one for each button[data-act]: what it asks, which request it sends, and what it says.

// The result of the first attempt after a resume.
const RESUMED = {
  parked: "was parked again",
  failing: "the first delivery failed",
  delivered: " and takes deliveries",
  idle: "; nothing waits for it",
  unknown: "; the first delivery is still under way",
};

const WATCH = [
  { name: "name", label: "Name", required: "" },
  { name: "type", label: "Job type", required: "", list: "known-types", placeholder: "panorama.package-import" },
  { name: "account", label: "Account", list: "known-accounts", placeholder: "default" },
  { name: "regions", label: "Regions", placeholder: "us-east-1 eu-central-1", hint: "Leave them out for a type with one global endpoint." },
  { name: "jobs", label: "Job ids", type: "lines", rows: "2", hint: "One a line. Leave them out to watch all jobs that the account lists." },
  { name: "interval", label: "Interval", placeholder: "30s" },
  { name: "labels", label: "Labels", placeholder: "team=vision" },
  { name: "expires", label: "Remove it once its jobs have ended", type: "checkbox" },
];

// The whole key is one step of the path: an id may hold slashes, or dots alone.
const path = ({ job }, rest) => `/api/v1/jobs/${encodeURIComponent(job)}${rest}`;
const words = (text) => text.split(/[\s,]+/).filter(Boolean);

function watch(given) {
  const made = { name: given.name, type: given.type };
  for (const name of ["account", "interval"]) if (given[name]) made[name] = given[name];
  if (given.regions) made.regions = words(given.regions);
  const jobs = given.jobs.split(/[\r\n]+/).map((each) => each.trim()).filter(Boolean);
  if (jobs.length) made.jobs = jobs;
  else made.discover = true;
  if (given.labels) made.labels = Object.fromEntries(words(given.labels).map((each) => pair(each)));
  if (given.expires) made.expires = "final";
  return made;
}

function pair(text) {
  const at = text.indexOf("=");
  return at < 0 ? [text, ""] : [text.slice(0, at), text.slice(at + 1)];
}

const AUTHOR = { name: "author", label: "Your name", hint: "Not needed where your browser has signed in." };
const COMMENT = { name: "comment", label: "Comment" };

// A glob that matches this text alone.
const literal = (text) => text?.replace(/[[*?]/g, "[$&]");

const SILENCE = [
  { name: "job", label: "Job", value: ({ job }) => literal(job), hint: "A key or an id, or a glob on it." },
  { name: "type", label: "Job type", placeholder: "panorama.*" },
  { name: "account", label: "Account" },
  { name: "region", label: "Region" },
  { name: "labels", label: "Labels", placeholder: "team=vision" },
  { name: "phase", label: "Phase", placeholder: "failed expired" },
  { name: "kind", label: "Kind", placeholder: "job.stuck" },
  { name: "duration", label: "Lasts", required: "", value: () => "2h" },
  AUTHOR,
  COMMENT,
];

// What a silence holds: every given field must match, and one of its globs.
function match(given) {
  const found = {};
  for (const name of ["type", "account", "region", "phase", "kind"]) if (given[name]) found[name] = words(given[name]);
  if (given.job) found.job = [given.job];
  if (given.labels) found.labels = Object.fromEntries(words(given.labels).map((each) => pair(each)));
  return found;
}

function note(given) {
  return given.author ? { author: given.author, comment: given.comment } : { comment: given.comment };
}

const POLLED = {
  answered: ({ state, failing }) =>
    failing ? ["bad", `The job was polled: ${failing}.`] : ["good", `AWS has answered: ${state}.`],
  failed: ({ failing }) => ["bad", `The poll failed: ${failing ?? "no answer"}.`],
  pending: ({ failing }) => ["bad", `AWS has not answered yet${failing ? `; the last poll failed: ${failing}` : ""}. The next poll is in the list.`],
};

export const ACTS = {
  replay: {
    title: ({ name }) => `Replay to ${name}`,
    what: ({ name }) => `Every dead delivery of ${name} is sent again, in order and marked as replayed.`,
    button: "Replay",
    request: ({ name }) => ["POST", "/api/v1/replay", { sink: name }],
    done: ({ count }) => ["good", `${count} ${count === 1 ? "delivery" : "deliveries"} will be sent again.`],
  },
  resume: {
    title: ({ name }) => `Resume ${name}`,
    what: ({ name }) => `${name} is parked. When you resume it, its waiting deliveries are sent, the oldest first.`,
    button: "Resume",
    request: ({ name }) => ["POST", `/api/v1/sinks/${encodeURIComponent(name)}/resume`, {}],
    done: ({ resumed, outcome, error }) =>
      outcome === "parked" || outcome === "failing"
        ? ["bad", `It was resumed, and ${RESUMED[outcome]}: ${error}`]
        : resumed
          ? ["good", `It is resumed${RESUMED[outcome]}.`]
          : ["good", "It was no longer parked."],
  },
  discard: {
    title: ({ name }) => `Discard dead deliveries to ${name}`,
    what: ({ name }) => `What is dead for ${name} now need not be sent any more. It stays in the history, and can still be replayed.`,
    button: "Discard",
    request: ({ name }) => ["POST", "/api/v1/deliveries/discard", { sink: name, all: true }],
    done: ({ count }) => ["good", `${count} ${count === 1 ? "delivery is" : "deliveries are"} discarded.`],
  },
  acknowledge: {
    title: ({ id }) => `Acknowledge ${id}`,
    what: () => "Everybody sees that you take care of it. It ends by itself when the state of the job changes.",
    button: "Acknowledge",
    fields: [AUTHOR, COMMENT],
    request: (data, given) => ["POST", path(data, "/acknowledge"), note(given)],
    done: (_, { id }) => ["good", `${id} is acknowledged.`],
  },
  withdraw: {
    title: ({ id }) => `Withdraw the acknowledgement of ${id}`,
    what: () => "The job stands among those that need somebody again.",
    button: "Withdraw",
    request: (data) => ["DELETE", path(data, "/acknowledge")],
    done: () => ["good", "It is withdrawn."],
  },
  silence: {
    title: () => "Add a silence",
    what: () => "Transitions that match every field are recorded and not sent. At the end, what is still true is sent.",
    button: "Silence",
    fields: SILENCE,
    request: (_, given) => ["POST", "/api/v1/silences", { match: match(given), duration: given.duration, ...note(given) }],
    done: ({ ends_at }) => ["good", `It lasts until ${ends_at.slice(0, 16).replace("T", " ")} UTC.`],
  },
  expire: {
    title: () => "Expire the silence",
    what: () => "It ends now, and what it held and is still true is sent.",
    button: "Expire",
    request: ({ id }) => ["DELETE", `/api/v1/silences/${encodeURIComponent(id)}`],
    done: () => ["good", "The silence has ended."],
  },
  reload: {
    title: () => "Reload the configuration",
    what: () => "The files are read again. All of it takes effect, or nothing.",
    button: "Reload",
    request: () => ["POST", "/-/reload"],
    done: () => ["good", "The configuration is reloaded."],
  },
  poll: {
    title: ({ id }) => `Poll ${id} now`,
    what: () => "The job is polled as soon as its quota permits.",
    button: "Poll now",
    request: (data) => ["POST", path(data, "/poll")],
    done: ({ outcome, job: polled }) => POLLED[outcome](polled),
  },
  "add-watch": {
    title: () => "Add a run-time watch",
    what: () => "It is kept in the store, and stays after reloads and restarts until somebody removes it.",
    button: "Add",
    fields: WATCH,
    request: (_, given) => ["POST", "/api/v1/watches", watch(given)],
    done: ({ name }) => ["good", `${name} is watched.`],
  },
  "remove-watch": {
    title: ({ name }) => `Remove the watch ${name}`,
    what: () => "Its jobs are no longer polled. What is known of them stays in the store.",
    button: "Remove",
    request: ({ name }) => ["DELETE", `/api/v1/watches/${encodeURIComponent(name)}`],
    done: (_, { name }) => ["good", `${name} is removed.`],
  },
};
