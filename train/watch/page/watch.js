// The page of a run: asks for its state again and again, and passes on what is pressed.

import { show } from "./plane.js";

const EVERY = 1000; // milliseconds between two looks
const EVERY_FRAME = 120; // the same where the plane moves
const LOST = 3; // looks without an answer after which the run has ended
const RUNNING = ["starting", "training", "evaluating"];
const POINTS = 300; // along a chart

const get = (id) => document.getElementById(id);
const losses = new Map(); // name -> [[step, value], ...]
let logged = 0; // the last step of which losses are here
let sheets = [];
let failures = 0;
let rate; // as the run last told it: another page may change it, and this one may be loaded anew
let now = {};

async function look() {
  let wait = EVERY;
  try {
    const reply = await fetch(`state?after=${logged}`);
    now = await reply.json();
    failures = 0;
    draw();
    if (now.frame && !now.paused) wait = EVERY_FRAME;
  } catch {
    failures += 1;
  }
  if (failures < LOST && (now.state === undefined || RUNNING.includes(now.state))) {
    setTimeout(look, document.hidden ? 4 * EVERY : wait);
  } else {
    if (failures >= LOST) now.state = "gone";
    say();
    for (const control of document.querySelectorAll(".controls :is(button, select)")) control.disabled = true;
  }
}

function draw() {
  tell();
  if (now.recipe === undefined) return;
  document.title = `${now.recipe}: step ${now.step}`;
  get("title").textContent = now.recipe;
  get("summary").textContent = now.summary;
  for (const line of now.losses) {
    logged = line.step;
    for (const [name, value] of Object.entries(line)) {
      if (name === "step") continue;
      if (!losses.has(name)) losses.set(name, []);
      losses.get(name).push([line.step, value]);
    }
  }
  if (now.losses.length) drawCharts();
  drawFigures();
  drawSheet();
  if (now.frame) show(now.frame, now.kind);
}

function tell() {
  get("pause").textContent = now.paused ? "Go on" : "Pause";
  if (now.rate !== rate) {
    rate = now.rate;
    get("rate").value = rate ?? "";
  }
  say();
}

function say() {
  const words = {
    starting: "Starting: the data is being read.",
    training: now.paused ? "Paused." : "Training.",
    evaluating: "Trained; its figures are being computed.",
    finished: "The run is finished.",
    stopped: "The run was stopped.",
    gone: "Nothing answers any more: the run has ended.",
  };
  const text = words[now.state] ?? `The run has ${now.state}`;
  if (get("status").textContent !== text) get("status").textContent = text; // is read out
}

function drawFigures() {
  const pace = losses.get("images_per_second")?.at(-1)[1];
  const left = pace ? ((now.steps - now.step) * now.batch_size) / pace : undefined;
  const rows = {
    step: `${now.step.toLocaleString()} of ${now.steps.toLocaleString()}`,
    "time left": left === undefined ? "-" : duration(left),
    data: `${now.data}, ${now.images.toLocaleString()}`,
    batch: now.batch_size,
    ...Object.fromEntries(Object.entries(now.figures).map(([name, value]) => [name, digits(value)])),
  };
  get("figures").replaceChildren(
    ...Object.entries(rows).flatMap(([name, value]) => [element("dt", name.replaceAll("_", " ")), element("dd", value)]),
  );
}

function drawSheet() {
  const range = document.querySelector("#samples input");
  const newest = Number(range.value) === sheets.length - 1 || sheets.length === 0;
  if (now.sheets.length !== sheets.length) {
    sheets = now.sheets;
    range.max = sheets.length - 1;
    if (newest) range.value = sheets.length - 1;
    showSheet();
  }
}

function showSheet() {
  if (!sheets.length) return;
  const range = document.querySelector("#samples input");
  const name = sheets[Number(range.value)];
  const step = Number(name.slice(0, 8)).toLocaleString();
  range.setAttribute("aria-valuetext", `step ${step}`);
  get("samples").hidden = false;
  get("sheet-title").textContent = `Samples after step ${step}`;
  Object.assign(document.querySelector("#samples img"), { src: `samples/${name}`, alt: `Samples after step ${step}` });
}

function drawCharts() {
  get("losses").hidden = false;
  const charts = [...losses].map(([name, values]) => chart(name.replaceAll("_", " "), thinned(values)));
  document.querySelector("#losses .charts").replaceChildren(...charts);
}

/** At most POINTS of the values, each the mean of as many. */
function thinned(values) {
  const each = Math.ceil(values.length / POINTS);
  const means = [];
  for (let start = 0; start < values.length; start += each) {
    const part = values.slice(start, start + each);
    means.push([part.at(-1)[0], part.reduce((sum, [, value]) => sum + value, 0) / part.length]);
  }
  return means;
}

function chart(name, values) {
  const heights = values.map(([, value]) => value);
  const [low, high] = [Math.min(...heights), Math.max(...heights)];
  const span = high - low || 1;
  const across = values.length - 1 || 1;
  const points = heights.map((value, i) => `${(300 * i) / across},${100 - (100 * (value - low)) / span}`);
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  const line = document.createElementNS(space, "polyline");
  const last = values.at(-1);
  svg.setAttribute("viewBox", "-2 -2 304 104");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", `${name}: from ${digits(heights[0])} to ${digits(last[1])} at step ${last[0]}`);
  line.setAttribute("points", points.join(" "));
  svg.append(line);
  const caption = element("figcaption", element("span", name), element("span", digits(last[1])));
  const ends = element("div", element("span", `${digits(low)} to ${digits(high)}`), element("span", `step ${last[0]}`));
  ends.className = "ends";
  return element("figure", caption, svg, ends);
}

function element(tag, ...children) {
  const made = document.createElement(tag);
  made.append(...children);
  return made;
}

const digits = (value) => Number(value.toPrecision(4)).toString();

function duration(seconds) {
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  return whole < 3600 ? `${Math.floor(whole / 60)} min` : `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

async function order(body) {
  const headers = { "Content-Type": "application/json" };
  await fetch("pace", { method: "POST", headers, body: JSON.stringify(body) });
}

get("pause").onclick = async () => {
  now.paused = !now.paused;
  await order({ do: now.paused ? "pause" : "go on" });
  tell();
};
get("step").onclick = () => order({ do: "step", steps: 1 });
get("steps").onclick = () => order({ do: "step", steps: 100 });
get("rate").onchange = (event) => order({ do: "limit", rate: event.target.value ? Number(event.target.value) : null });
document.querySelector("#samples input").oninput = showSheet;
look();
