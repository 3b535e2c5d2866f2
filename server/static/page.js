// The page for people. What it knows of the model is what `model.json` says, and every word of that reaches the page as
// text, never as markup: names and labels are whatever somebody once called a column.

const $ = (id) => document.getElementById(id);
const MANY_FEATURES = 16;
const MANY_CLASSES = 8;
const LOOK_AGAIN_MS = 2000;
const JSON_NUMBER = /^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$/;
const PROOFS = {
  Answered: "its example, as recorded",
  Executed: "its example, with no recorded answer to compare",
  Loaded: "there is no example to try",
};
const ENGINES = { sklearn: "scikit-learn", compiled: "compiled, compared with scikit-learn" };

let token = ""; // in memory only
let model;
let drawn; // the digest of the model that the form is for
let fields = []; // what a row is made of: see `columnField` and `vectorField`

// --- what it takes

function make(tag, properties, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function show(id, visible) {
  $(id).hidden = !visible;
}

function short(number) {
  return number.toLocaleString("en", { maximumSignificantDigits: 6, useGrouping: false });
}

function plural(count, thing) {
  return `${count} ${thing}${count === 1 ? "" : "s"}`;
}

function range(low, high) {
  if (low === null) return `at most ${short(high)}`;
  return high === null ? `at least ${short(low)}` : `${short(low)} to ${short(high)}`;
}

function isRange(bounds) {
  return Boolean(bounds) && (bounds[0] !== null || bounds[1] !== null);
}

function ask(path, options = {}) {
  const headers = { ...options.headers, ...(token && { authorization: `Bearer ${token}` }) };
  return fetch(path, { ...options, headers, cache: "no-store" });
}

// Whole numbers beyond what JavaScript counts exactly stay as they were written.
function exact(key, value, context) {
  return typeof value === "number" && !Number.isSafeInteger(value) && /^-?\d+$/.test(context?.source) ? context.source : value;
}

// --- the model

async function load() {
  let answer;
  try {
    answer = await ask("model.json");
  } catch {
    notice("The server can't be reached; this page tries again.");
    return setTimeout(load, LOOK_AGAIN_MS);
  }
  if (answer.status === 401) return wantToken();
  if (!answer.ok) return notice(`The server answers ${answer.status} where it should describe its model.`);
  model = await answer.json();
  describe();
}

function describe() {
  show("access", false);
  document.title = `${model.name}, version ${model.version}`;
  $("name").textContent = model.name;
  $("version").textContent = `version ${model.version}`;
  $("status").textContent = model.status;
  $("status").className = `badge ${model.status.toLowerCase()}`;
  for (const id of ["version", "status", "links"]) show(id, true);
  if (!model.loaded) {
    notice("The model is being loaded. The form appears as soon as it can answer.");
    return setTimeout(load, LOOK_AGAIN_MS);
  }
  notice(model.status === "Draining" ? "This pod is about to end; another one takes over. Reload the page in a few seconds." : "");
  about();
  if (drawn !== model.digest) form(); // what somebody has typed outlives a new token
  drawn = model.digest;
  show("model", true);
}

function notice(text, ...more) {
  show("notice", text);
  $("notice").replaceChildren(text, ...more);
}

function wantToken() {
  show("access", true);
  $("token-message").textContent = token ? "This token is not accepted." : "";
  $("token").setAttribute("aria-invalid", Boolean(token));
  $("token").focus();
}

function about() {
  const engine = ENGINES[model.engine] ?? model.engine;
  $("facts").textContent = [model.target && `predicts ${model.target}`, model.resource].filter(Boolean).join(" · ");
  $("digest").textContent = model.digest;
  const pairs = {
    Engine: model.engineReason ? `${engine}, since ${model.engineReason}` : engine,
    Verified: `${model.verified}: ${PROOFS[model.verified]}`,
    "Trained with": [`scikit-learn ${model.sklearn}`, model.rows && plural(model.rows, "row")].filter(Boolean).join(", "),
    Classes: model.classes.length && classes(),
  };
  $("about").replaceChildren(
    ...Object.entries(pairs)
      .filter(([, value]) => value)
      .map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", { className: "text" }, ...[value].flat()))),
  );
  const rows = metrics();
  $("metrics").replaceChildren(...rows);
  show("metrics-card", rows.length);
}

// Each apart: a label may turn the direction of what follows it.
function classes() {
  const labels = model.classes.flatMap((label) => [make("bdi", {}, label), ", "]);
  return [...labels.slice(0, -1), model.moreClasses ? ` and ${model.moreClasses} more` : ""];
}

// Means of cross-validation with their deviations; everything else as it is called.
function metrics() {
  const values = new Map(Object.entries(model.metrics));
  const rows = [];
  for (const [name, value] of values) {
    const fold = /^(cv_.+)_(mean|std)$/.exec(name);
    const spread = fold && values.get(`${fold[1]}_std`);
    if (fold?.[2] === "std" && values.has(`${fold[1]}_mean`)) continue;
    const folded = fold?.[2] === "mean" && spread !== undefined;
    const [called, text] = folded ? [fold[1], `${short(value)} ± ${short(spread)}`] : [name, short(value)];
    rows.push(make("tr", {}, make("th", { scope: "row", className: "text" }, called), make("td", { title: value }, text)));
  }
  return rows;
}

// --- the form

function form() {
  fields = model.columns ? model.columns.map(columnField) : [vectorField(model.vector)];
  $("fields").replaceChildren(...fields.map((field) => field.box));
  $("fields").classList.toggle("one", fields.length === 1);
  $("form-title").textContent = model.columns ? plural(fields.length, "feature") : "Input";
  show("filter", fields.length > MANY_FEATURES);
  const rows = model.examples.map((_, index) => new Option(`Recorded example, row ${index + 1}`, index));
  $("fill").replaceChildren(...rows, new Option("Empty", ""));
  show("fill", rows.length);
  fill();
}

function fill() {
  const row = model.examples[$("fill").value];
  fields.forEach((field, index) => {
    field.input.value = row ? (model.columns ? (row[index] ?? "") : row.map((cell) => cell ?? "null").join(", ")) : "";
    mark(field);
  });
  changed();
}

function box(id, name, type, input, hint) {
  input.id = `value-${id}`;
  input.setAttribute("aria-describedby", `hint-${id} message-${id}`);
  const message = make("p", { className: "message", id: `message-${id}` });
  const made = make(
    "div",
    { className: "field" },
    make("label", { htmlFor: input.id }, make("span", { className: "text" }, name), make("span", { className: "type" }, type)),
    input,
    make("p", { className: "hint", id: `hint-${id}` }, hint),
    message,
  );
  return { name, input, message, box: made };
}

function columnField(column, index) {
  const words = [
    isRange(column.seen) && `seen ${range(...column.seen)}`,
    isRange(column.declared) && `must be ${range(...column.declared)}`,
    !column.required && "empty: missing",
  ];
  const field = box(index, column.name, column.type, control(column), words.filter(Boolean).join(" · "));
  const quoted = JSON.stringify(column.name);
  field.seen = column.seen;
  field.cells = () => {
    const text = field.input.value;
    if (column.type === "string" || column.type === "datetime") {
      return text || (column.required && column.type === "string") ? [[quoted, JSON.stringify(text)]] : [];
    }
    return text.trim() ? [[quoted, json(text.trim())]] : [];
  };
  return field;
}

function control(column) {
  if (column.type === "string" && model.columns.length === 1) return make("textarea", { rows: 6 });
  if (column.type === "boolean") {
    const choices = [new Option(column.required ? "choose" : "missing", ""), new Option("true"), new Option("false")];
    return make("select", {}, ...choices);
  }
  const numeric = column.type !== "string" && column.type !== "datetime";
  const whole = column.type === "integer" || column.type === "long";
  return make("input", {
    type: "text",
    autocomplete: "off",
    spellcheck: false,
    inputMode: whole ? "numeric" : numeric ? "decimal" : "text",
    className: numeric ? "number" : "",
    placeholder: column.type === "datetime" ? "2026-01-31T12:00:00" : "",
  });
}

function vectorField(vector) {
  const input = make("textarea", { rows: 8, spellcheck: false, autocomplete: "off" });
  const field = box(0, "Values", "array", input, "");
  const hint = field.box.querySelector(".hint");
  const values = () => (input.value.trim().replace(/^\[([^]*)\]$/, "$1").match(/"(?:[^"\\]|\\.)*"|[^\s,;]+/g) ?? []).map(json);
  field.cells = () => [['"features"', values()]];
  field.changed = () => {
    const count = values().length;
    const wanted = vector.width === null ? plural(count, "value") : `${count} of ${plural(vector.width, "value")}`;
    hint.textContent = `${wanted}, in the order of training, with commas, spaces or line breaks between them`;
    if (vector.names) hint.textContent += `: ${vector.names.join(", ")}`;
  };
  return field;
}

// One value as JSON: as it was typed where that is JSON, so that no digit is lost. What is no number travels as text: the
// server says best what it expects.
function json(text) {
  if (JSON_NUMBER.test(text) || ["true", "false", "null"].includes(text)) return text;
  if (/^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$/.test(text) && Number.isFinite(Number(text))) return String(Number(text));
  try {
    if (typeof JSON.parse(text) === "string") return text;
  } catch {
    // not a text in quotes
  }
  return JSON.stringify(text);
}

function mark(field, kind = "", text = "") {
  field.box.classList.remove("bad", "unusual");
  if (kind) field.box.classList.add(kind);
  field.input.setAttribute("aria-invalid", kind === "bad");
  field.message.textContent = text;
}

// The body of the request; `indent` writes it for people, `word` writes a JSON value in another language.
function body(indent = false, word = (value) => value) {
  const cells = fields.flatMap((field) => field.cells());
  const [open, between, close] = indent ? ["{\n  ", ",\n  ", "\n}"] : ["{", ", ", "}"];
  const text = ([key, value]) => `${key}: ${Array.isArray(value) ? `[${value.map(word).join(", ")}]` : word(value)}`;
  return cells.length ? open + cells.map(text).join(between) + close : "{}";
}

function changed() {
  for (const field of fields) field.changed?.();
  const url = new URL("predict", location.href).href;
  const python = $("language").querySelector(":checked").value === "python";
  $("code").textContent = python ? inPython(url) : inShell(url);
  show("code-hint", token);
}

function inShell(url) {
  const quote = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  const access = token ? ` \\\n  -H "Authorization: Bearer $TOKEN"` : "";
  return `curl ${quote(url)} \\\n  -H 'Content-Type: application/json'${access} \\\n  -d ${quote(body(true).replaceAll("\n", "\n  "))}`;
}

function inPython(url) {
  const words = { true: "True", false: "False", null: "None" };
  const access = token ? `,\n    "Authorization": "Bearer " + os.environ["TOKEN"],\n` : "";
  const headers = access ? `{\n    "Content-Type": "application/json"${access}}` : `{"Content-Type": "application/json"}`;
  return [
    `import json${token ? "\nimport os" : ""}\nimport urllib.request\n`,
    `row = ${body(true, (value) => words[value] ?? value)}`,
    `headers = ${headers}`,
    `request = urllib.request.Request(${JSON.stringify(url)}, json.dumps(row).encode(), headers)`,
    "with urllib.request.urlopen(request) as answer:\n    print(json.load(answer))",
  ].join("\n");
}

// --- the answer

async function predict(event) {
  event.preventDefault();
  if ($("predict").getAttribute("aria-disabled") === "true") return;
  for (const field of fields) mark(field);
  $("predict").setAttribute("aria-disabled", true);
  const began = performance.now();
  try {
    const answer = await ask("predict", { method: "POST", body: body(), headers: { "content-type": "application/json" } });
    const text = await answer.text();
    const took = performance.now() - began;
    if (answer.ok) answered(JSON.parse(text, exact), text, answer.headers, took);
    else refused(answer, text);
  } catch {
    result(make("p", { className: "error" }, "The server can't be reached, or the connection broke. Try again."));
  } finally {
    $("predict").setAttribute("aria-disabled", false);
  }
}

function result(...children) {
  $("result").replaceChildren(...children);
  $("result").parentElement.scrollIntoView({ block: "nearest" }); // on a phone it stands below a long form
}

function answered(content, text, headers, took) {
  const values = [content.prediction].flat();
  const parts = [make("p", { className: "answer text" }, values.map(value).join(", "))];
  if (typeof content.probability === "number") parts.push(make("p", { className: "quiet" }, `with probability ${percent(content.probability)}`));
  if (content.probabilities) parts.push(bars(content.probabilities));
  const unusual = (headers.get("x-out-of-range") || "").split(",").filter(Boolean).map(decodeURIComponent);
  for (const field of fields) {
    if (unusual.includes(field.name)) mark(field, "unusual", `outside of what training has seen: ${range(...field.seen)}`);
  }
  if (unusual.length) {
    const words = unusual.length === 1 ? "1 value lies" : `${unusual.length} values lie`;
    parts.push(make("p", { className: "unusual" }, `${words} outside of what training has seen (marked in the form).`));
  }
  parts.push(make("p", { className: "quiet" }, `${short(content.latency_ms)} ms in the server, ${short(Math.round(took * 10) / 10)} ms round trip`));
  parts.push(make("details", {}, make("summary", {}, "Answer as JSON"), make("pre", { tabIndex: 0 }, text)));
  result(...parts);
  if ((headers.get("x-model-digest") ?? model.digest) !== model.digest) {
    const again = make("button", { type: "button", onclick: load }, "Show it");
    notice(`Version ${content.model_version} of the model answers now. `, again);
  }
}

function value(given) {
  return typeof given === "number" && !Number.isInteger(given) ? short(given) : String(given);
}

function percent(share) {
  const rounded = (share * 100).toFixed(share > 0.999 || share < 0.001 ? 3 : 1);
  return share && !Number(rounded) ? "< 0.001 %" : `${Number(rounded)} %`;
}

function bars(probabilities) {
  const sorted = Object.entries(probabilities).sort(([, one], [, other]) => other - one);
  const items = sorted.map(([label, share]) => {
    const bar = make("span", { className: "share" });
    bar.style.width = `${share * 100}%`;
    return make("li", {}, make("span", { className: "text" }, label), make("span", {}, percent(share)), make("span", { className: "whole" }, bar));
  });
  const list = (some) => make("ul", { className: "bars", ariaLabel: "Probabilities" }, ...some);
  const rest = items.slice(MANY_CLASSES);
  if (!rest.length) return list(items);
  return make("div", {}, list(items.slice(0, MANY_CLASSES)), make("details", {}, make("summary", {}, `${rest.length} more`), list(rest)));
}

function refused(answer, text) {
  if (answer.status === 401) wantToken();
  let error = { message: `The server answers ${answer.status}.`, details: [] };
  try {
    error = JSON.parse(text).error;
  } catch {
    // a proxy has answered
  }
  const others = [];
  for (const { feature, message } of error.details) {
    const field = fields.find((one) => one.name === feature);
    if (field) mark(field, "bad", message);
    else others.push([feature, message]);
  }
  if (!model.columns && others.length) {
    mark(fields[0], "bad", others.map(([feature, message]) => `${feature} ${message}`).join("; "));
  }
  const placed = error.details.length - (model.columns ? others.length : 0);
  const words = placed ? `${plural(placed, "value")} can't be taken: see the marks in the form.` : error.message;
  const rest = model.columns ? others.map(([feature, message]) => make("li", { className: "text" }, `${feature} ${message}`)) : [];
  result(make("p", { className: "error" }, words), ...(rest.length ? [make("ul", {}, ...rest)] : []));
  if (answer.headers.get("retry-after")) $("result").append(make("p", { className: "quiet" }, "This passes by itself: try again in a moment."));
  const first = fields.find((field) => field.box.classList.contains("bad"));
  if (first) {
    find("");
    first.input.focus();
  }
}

// --- the rest

function find(text) {
  $("filter").value = text;
  const wanted = text.trim().toLowerCase();
  for (const field of fields) field.box.hidden = !field.name.toLowerCase().includes(wanted);
  show("none", fields.every((field) => field.box.hidden));
}

async function copy() {
  const code = $("code");
  try {
    await navigator.clipboard.writeText(code.textContent);
  } catch {
    getSelection().selectAllChildren(code); // without TLS a browser has no clipboard for pages
    document.execCommand("copy");
  }
  $("copy").textContent = "Copied";
  setTimeout(() => ($("copy").textContent = "Copy"), LOOK_AGAIN_MS);
}

// A link shows no token, so what the links lead to is fetched where one is needed.
async function follow(event) {
  const link = event.target.closest("nav a");
  if (!link || !token) return;
  event.preventDefault();
  const answer = await ask(link.href);
  if (answer.status === 401) return wantToken();
  if (link.id === "to-docs") {
    const docs = new DOMParser().parseFromString(await answer.text(), "text/html");
    $("docs").replaceChildren(...docs.querySelector("main").childNodes);
    show("docs", true);
    return $("docs").scrollIntoView();
  }
  const url = URL.createObjectURL(await answer.blob());
  make("a", { href: url, download: "openapi.json" }).click();
  URL.revokeObjectURL(url);
}

$("access").addEventListener("submit", (event) => {
  event.preventDefault();
  token = $("token").value.trim();
  if (/^[\x21-\x7e]+$/.test(token)) return load();
  $("token-message").textContent = "A token is made of letters, digits and signs, without spaces.";
});
$("form").addEventListener("submit", predict);
$("form").addEventListener("input", ({ target }) => {
  const field = fields.find((one) => one.input === target);
  if (field) {
    mark(field);
    changed();
  }
});
$("fill").addEventListener("change", fill);
$("filter").addEventListener("input", () => find($("filter").value));
$("filter").addEventListener("keydown", (event) => event.key === "Enter" && event.preventDefault());
$("language").addEventListener("change", changed);
$("copy").addEventListener("click", copy);
document.addEventListener("click", follow);
load();
