// Asks the admin API every two seconds and draws what it says. Texts go in as texts, never as markup.
"use strict";

const token = new URLSearchParams(location.hash.slice(1)).get("token");
const at = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";

function node(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function mark(name, attributes, ...children) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

async function ask(path, read) {
  const response = await fetch(path, { headers: { authorization: `Bearer ${token}` } });
  if (response.status === 404) return null;
  if (!response.ok) throw new Error(`${path}: ${response.status} ${response.statusText}`);
  return read === "text" ? response.text() : response.json();
}

const percent = (text) => Number.parseFloat(String(text).replace("%", ""));
const number = (value) => (value === null || value === undefined ? "none yet" : Number(value.toPrecision(3)).toString());
const clock = (time) => new Date(time).toISOString().slice(11, 19);

function head(report) {
  at("title").textContent = `Rollout ${report.id}`;
  document.title = `${report.weight} ${report.phase}`;
  const verdict = at("verdict");
  verdict.textContent = `${report.phase} at ${report.weight}: ${report.reason}`;
  verdict.className = report.phase === "baking" ? report.verdict : report.phase;
  const now = report.stage;
  at("stages").replaceChildren(...report.spec.stages.map((stage, index) => {
    const weight = stage.weight ?? stage;
    const isDone = index < now || report.phase === "promoted";
    const state = isDone ? "done" : index === now && report.ended_at === null ? "here" : "";
    return node("li", { class: state }, String(weight));
  }));
}

// Steps from each change of weight to the next.
function weights(report, events) {
  const changes = events.filter((event) => event.rollout === report.id && event.kind === "weight-set");
  const begin = Date.parse(report.started_at);
  const end = Math.max(Date.parse(report.ended_at ?? new Date().toISOString()), begin + 1000);
  const x = (time) => 40 + 550 * (Date.parse(time) - begin) / (end - begin);
  const y = (weight) => 130 - 1.2 * percent(weight);
  let path = `M 40 ${y("0%")}`;
  for (const change of changes) path += ` H ${x(change.at).toFixed(1)} V ${y(change.weight)}`;
  path += " H 590";
  const lines = [0, 50, 100].flatMap((weight) => [
    mark("line", { class: "axis", x1: 40, x2: 590, y1: y(weight), y2: y(weight) }),
    mark("text", { x: 4, y: y(weight) + 4 }, `${weight}%`),
  ]);
  const times = [mark("text", { x: 40, y: 148 }, clock(begin)), mark("text", { x: 545, y: 148 }, clock(end))];
  at("weights").replaceChildren(mark("svg", { viewBox: "0 0 600 152", role: "img", "aria-label": "Weight over time" },
    ...lines, ...times, mark("path", { class: "curve", d: path })));
}

// A gate's value over the rollout; the dashed line is its bound where that is a plain number.
function spark(values, bound) {
  const seen = values.filter((value) => value !== null);
  if (seen.length < 2) return "";
  const top = Math.max(...seen, bound ?? 0) || 1;
  const x = (index) => (index * 140) / Math.max(values.length - 1, 1);
  const y = (value) => 28 - (26 * value) / top;
  const points = values.map((value, index) => [value, index]).filter(([value]) => value !== null);
  const path = points.map(([value, index], place) => `${place === 0 ? "M" : "L"} ${x(index).toFixed(1)} ${y(value).toFixed(1)}`).join(" ");
  const parts = [mark("path", { class: "curve", d: path })];
  if (bound !== null) parts.push(mark("line", { class: "bound", x1: 0, x2: 140, y1: y(bound), y2: y(bound) }));
  return mark("svg", { class: "spark", viewBox: "0 0 140 30", role: "img", "aria-label": "Value over time" }, ...parts);
}

// `error_ratio<5%`, `ttft_p95<15s`, `queue<4`: as a number in the unit that is observed; none for a bound beside the baseline.
function boundOf(gate) {
  const found = /<\s*\$?([0-9.]+)(%|ms|s|m)?(?=\s|$)/.exec(gate);
  if (!found) return null;
  const scale = { "%": 0.01, ms: 0.001, s: 1, m: 60 }[found[2]] ?? 1;
  return Number(found[1]) * scale;
}

function table(names, rows) {
  return node("table", {}, node("thead", {}, node("tr", {}, ...names.map((name) => node("th", {}, name)))),
    node("tbody", {}, ...rows.map((cells) => node("tr", {}, ...cells))));
}

const cell = (content, kind = "") => node("td", kind ? { class: kind } : {}, content);

function gates(report, trail) {
  const rows = report.gates.map((gate, index) => {
    const values = trail && trail.rollout === report.id ? trail.points.map((point) => point.gates[index] ?? null) : [];
    return [cell(gate.gate), cell(String(gate.samples), "number"), cell(number(gate.observed), "number"),
      cell(spark(values, boundOf(gate.gate))), cell(gate.verdict, gate.verdict), cell(gate.reason)];
  });
  at("gates").replaceChildren(table(["gate", "answers", "seen", "over time", "says", "why"], rows));
}

// Lines of a /metrics page.
function samples(page, name) {
  const found = [];
  for (const line of page.split("\n")) {
    if (!line.startsWith(`${name}{`)) continue;
    const end = line.lastIndexOf("}");
    const labels = Object.fromEntries([...line.slice(name.length + 1, end).matchAll(/([a-z_]+)="([^"]*)"/g)].map((pair) => [pair[1], pair[2]]));
    found.push({ labels, value: Number(line.slice(end + 1)) });
  }
  return found;
}

const VARIANTS = ["baseline", "candidate"];

function errors(page) {
  const all = samples(page, "dsctl_gateway_requests_total");
  const rows = VARIANTS.map((variant) => {
    const sum = (outcomes) => all.filter(({ labels }) => labels.variant === variant && outcomes.includes(labels.outcome))
      .reduce((total, { value }) => total + value, 0);
    const failed = sum(["upstream_error", "truncated"]);
    const counted = failed + sum(["ok"]);
    const share = counted === 0 ? "none yet" : `${((100 * failed) / counted).toFixed(2)}%`;
    return [cell(node("span", { class: `key ${variant}` }, variant)), cell(String(counted), "number"), cell(String(failed), "number"), cell(share, "number")];
  });
  at("errors").replaceChildren(table(["variant", "attempts", "failed or cut off", "share"], rows));
}

// Shares of the answers by bucket, both variants side by side.
function distribution(place, page, name) {
  const all = samples(page, `${name}_bucket`);
  const bounds = [...new Set(all.map(({ labels }) => labels.le))].sort((a, b) => Number(a.replace("+Inf", "Infinity")) - Number(b.replace("+Inf", "Infinity")));
  const shares = VARIANTS.map((variant) => {
    const up = bounds.map((bound) => all.find(({ labels }) => labels.variant === variant && labels.le === bound)?.value ?? 0);
    const total = up.at(-1) || 1;
    return up.map((value, index) => (value - (up[index - 1] ?? 0)) / total);
  });
  const used = bounds.map((_, index) => shares.some((share) => share[index] > 0));
  const from = Math.max(used.indexOf(true) - 1, 0);
  const to = Math.min(used.lastIndexOf(true) + 1, bounds.length - 1);
  if (!used.includes(true)) return at(place).replaceChildren("no answers yet");
  const width = 550 / (to - from + 1);
  const top = Math.max(...shares.flat());
  const bars = [];
  for (let index = from; index <= to; index += 1) {
    const left = 40 + (index - from) * width;
    VARIANTS.forEach((variant, which) => {
      const height = (110 * shares[which][index]) / top;
      bars.push(mark("rect", { class: variant, x: left + (which * width) / 2.2, y: 125 - height, width: Math.max(width / 2.4, 1), height },
        mark("title", {}, `${variant}: ${(100 * shares[which][index]).toFixed(1)}% up to ${bounds[index]} s`)));
    });
    bars.push(mark("text", { x: left, y: 142 }, bounds[index]));
  }
  at(place).replaceChildren(mark("svg", { viewBox: "0 0 600 152", role: "img", "aria-label": name }, mark("text", { x: 0, y: 152 }, "s"),
    mark("line", { class: "axis", x1: 40, x2: 590, y1: 125, y2: 125 }), ...bars));
}

function log(report, events) {
  const rows = events.filter((event) => event.rollout === report.id).reverse()
    .map((event) => [cell(clock(event.at), "number"), cell(event.kind, event.kind), cell(event.weight, "number"), cell(event.detail)]);
  at("events").replaceChildren(table(["UTC", "what", "weight", "why"], rows));
}

async function show() {
  const [report, events, trail, page] = await Promise.all([ask("/admin/rollout"), ask("/admin/rollout/history"),
    ask("/admin/rollout/trail"), ask("/metrics", "text")]);
  errors(page);
  distribution("first-token", page, "dsctl_gateway_time_to_first_token_seconds");
  distribution("duration", page, "dsctl_gateway_request_duration_seconds");
  if (report === null) {
    at("verdict").textContent = "There was no rollout yet: dsctl rollout start";
    return;
  }
  head(report);
  weights(report, events);
  gates(report, trail);
  log(report, events);
}

async function turn() {
  try {
    await show();
    at("asked").textContent = `asked at ${clock(Date.now())} UTC`;
    document.body.dataset.state = "shown";
  } catch (error) {
    at("verdict").textContent = `The gateway does not answer: ${error.message}`;
    document.body.dataset.state = "failed";
  }
  setTimeout(turn, 2000);
}

if (token) turn();
else at("verdict").textContent = "The address lacks the token: open what `dsctl rollout page` prints.";
