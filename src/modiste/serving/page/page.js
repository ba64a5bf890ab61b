// Takes a picture, gives it to answerOf (of server.js, or of a page that computes by itself), and shows the answer.
"use strict";

const at = (id) => document.getElementById(id);
const SHEET = "#fdfdfd", PEN = "#20242a";  // dark on light, as in a shop's photos
const ORANGE = [217, 119, 6], VIOLET = [94, 60, 153];
const LEAST_EVIDENCE = 0.05;  // smallest value drawn in full colour
const MOST_NAMED = 24;  // classes that the heading names
const LONG_NAME = 22;  // letters of a class name that stay in one line beside its bar
let asked = 0;  // number of the latest request; answers to earlier ones are dropped

// Fits the page to a model: its name, its classes, and how pictures are prepared for it.
function introduce({ name, classes, pictures }) {
  const areGarments = classes.every((one) => Object.prototype.hasOwnProperty.call(SAMPLES, one)), more = classes.length - MOST_NAMED;
  document.title = `${name}: a classifier`;
  at("served").textContent = `${name}: ${classes.slice(0, MOST_NAMED).join(", ")}${more > 0 ? ` and ${more} more` : ""}`;
  at("ask-title").textContent = areGarments ? "Show a garment" : "Show a picture";
  at("best").textContent = pictures === "garment" ? `One ${areGarments ? "garment" : "object"} on a plain background does best.` : "";
  at("samples").hidden = !areGarments;
  at("samples").querySelector("ul").replaceChildren(...(areGarments ? classes.map(sample) : []));
}

async function ask(picture, name, isDrawing = false) {
  const turn = ++asked;
  at("fault").hidden = true;
  at("busy").textContent = "Looking…";
  try {
    const { answer, time } = await answerOf(picture, name, isDrawing);
    if (turn === asked) await show(answer, time);
  } catch (error) {
    if (turn === asked) complain(error.message);
  } finally {
    if (turn === asked) at("busy").textContent = "";
  }
}

function complain(message) {
  at("found").hidden = true;
  at("fault").textContent = message;
  at("fault").hidden = false;
  at("fault").scrollIntoView({ block: "nearest" });
}

const anyOf = (names) => `${names.slice(0, -1).join(", ")} or ${names[names.length - 1]}`;
const percent = (share) => `${(100 * share).toFixed(1)} %`;

async function show(answer, time) {
  // Sorted here, for an object lists names that are whole numbers first.
  const likely = Object.entries(answer.probabilities).sort((one, other) => other[1] - one[1]);
  const [name, share] = likely[0], isNone = answer.none_of_the_classes;
  at("verdict").textContent = isNone ? `None of the ${likely.length} classes` : `${name}, ${percent(share)}`;
  at("doubt").textContent = [
    answer.possible?.length > 1 ? `It may be ${anyOf(answer.possible)}.` : "",
    isNone ? "It is unlike anything the network was trained on." : `Next: ${likely[1][0]}, ${percent(likely[1][1])}.`,
    answer.separated
      ? answer.doubt && `Look twice: ${answer.doubt}.`
      : "It could not be separated from its background; try a plainer background.",
  ].filter(Boolean).join(" ");
  at("likely").textContent = isNone ? "If it were one of them" : "How likely each is";
  at("bars").classList.toggle("greyed", Boolean(isNone));
  at("bars").classList.toggle("long", likely.some(([one]) => one.length > LONG_NAME));
  at("bars").tBodies[0].replaceChildren(...likely.map(bar));
  at("steps").replaceChildren(...answer.steps.map((step) => figure(picture(step.picture), step.name)));
  const looked = document.createElement("canvas");
  looked.width = looked.height = 1;  // square until it is drawn
  const last = figure(looked, "where it looked");
  at("steps").append(last);
  at("time").textContent = time;
  at("found").hidden = false;
  at("verdict").focus({ preventScroll: true });
  at("found").scrollIntoView({ block: "nearest", behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
  try {
    await drawEvidence(looked, answer);
  } catch (error) {  // the answer stays: it does not depend on this
    last.querySelector("figcaption").textContent = `where it looked: cannot be drawn (${error.message})`;
  }
}

function bar([name, share]) {
  const row = document.createElement("tr"), head = document.createElement("th"), cell = document.createElement("td");
  const track = document.createElement("div"), fill = document.createElement("div"), number = document.createElement("td");
  head.scope = "row"; head.textContent = name;
  track.className = "track"; fill.className = "fill"; fill.style.width = percent(share).replace(" ", "");
  number.className = "share"; number.textContent = percent(share);
  track.append(fill); cell.append(track); row.append(head, cell, number);
  return row;
}

function figure(content, caption) {
  const whole = document.createElement("figure"), words = document.createElement("figcaption");
  words.textContent = caption;
  whole.append(content, words);
  return whole;
}

function picture(url) {
  const image = new Image();
  image.src = url; image.alt = "";
  return image;
}

async function drawEvidence(canvas, { steps, evidence, label }) {
  const rows = await evidence;  // null if another picture came first
  if (!rows) return;
  const side = rows.length, pen = canvas.getContext("2d");
  canvas.width = canvas.height = side;
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", `Where the network looked to say ${label}: ${strongestPart(rows)}`);
  const seen = picture(steps[steps.length - 1].picture);
  await seen.decode();
  pen.drawImage(seen, 0, 0, side, side);
  const values = rows.flat(), pixels = pen.getImageData(0, 0, side, side);
  const reach = values.reduce((most, value) => Math.max(most, Math.abs(value)), LEAST_EVIDENCE);
  values.forEach((value, place) => {
    const colour = value > 0 ? ORANGE : VIOLET, share = 0.8 * Math.abs(value) / reach;
    for (let part = 0; part < 3; part++) pixels.data[4 * place + part] = (1 - share) * pixels.data[4 * place + part] + share * colour[part];
  });
  pen.putImageData(pixels, 0, 0);
}

function strongestPart(rows) {
  const parts = { "upper left": 0, "upper right": 0, "lower left": 0, "lower right": 0 }, half = rows.length / 2;
  rows.forEach((row, y) => row.forEach((value, x) => { parts[`${y < half ? "upper" : "lower"} ${x < half ? "left" : "right"}`] += value; }));
  return `most at the ${Object.entries(parts).sort((a, b) => b[1] - a[1])[0][0]}.`;
}

// Returns a copy of a picture in memory: a file may have been changed or deleted since it was chosen.
async function inMemory(picture) {
  try {
    return new Blob([await picture.arrayBuffer()], { type: picture.type });
  } catch {
    throw new Error("the file cannot be read; choose it again, or copy it to this device first");
  }
}

function askFirst(files) {
  const file = [...files].find((one) => one.type.startsWith("image/")) ?? files[0];
  if (file) ask(file, file.name || "picture");
}

// Files: chosen, photographed, dropped or pasted.
at("pick").addEventListener("click", () => at("file").click());
at("photograph").addEventListener("click", () => at("camera").click());
for (const id of ["file", "camera"]) at(id).addEventListener("change", (event) => { askFirst(event.target.files); event.target.value = ""; });
addEventListener("paste", (event) => askFirst(event.clipboardData.files));
for (const kind of ["dragenter", "dragover"]) addEventListener(kind, (event) => { event.preventDefault(); at("drop").classList.add("over"); });
addEventListener("dragleave", (event) => { if (!event.relatedTarget) at("drop").classList.remove("over"); });
addEventListener("drop", (event) => { event.preventDefault(); at("drop").classList.remove("over"); askFirst(event.dataTransfer.files); });

// Drawing, by finger, mouse or arrow keys.
const sheet = at("sheet"), pen = sheet.getContext("2d");
let last = null, drawn = false, cursor, isDown;  // where the arrow keys are, and whether they draw

function clear() {
  pen.fillStyle = SHEET;
  pen.fillRect(0, 0, sheet.width, sheet.height);
  drawn = false;
  cursor = { x: sheet.width / 2, y: sheet.height / 2 };
  isDown = false;
  showPen();
}

// Shows where the keyboard's pen is, as a ring that is filled while it draws.
function showPen() {
  at("pen").style.left = `${100 * cursor.x / sheet.width}%`;
  at("pen").style.top = `${100 * cursor.y / sheet.height}%`;
  at("pen").classList.toggle("down", isDown);
}

function line(from, to) {
  pen.strokeStyle = PEN; pen.lineWidth = at("width").value; pen.lineCap = pen.lineJoin = "round";
  pen.beginPath(); pen.moveTo(from.x, from.y); pen.lineTo(to.x, to.y); pen.stroke();
  drawn = true;
}

function place(event) {
  const box = sheet.getBoundingClientRect();
  return { x: (event.clientX - box.left) * sheet.width / box.width, y: (event.clientY - box.top) * sheet.height / box.height, pointer: event.pointerId };
}

// One pointer draws at a time, a mouse by its main button.
const holdsPen = (event) => last?.pointer === event.pointerId;
sheet.addEventListener("pointerdown", (event) => {
  if (event.button || (last && !holdsPen(event))) return;
  at("pen").hidden = true;
  sheet.setPointerCapture(event.pointerId);
  last = place(event);
  line(last, last);
});
sheet.addEventListener("pointermove", (event) => { if (holdsPen(event)) { const next = place(event); line(last, next); last = next; } });
for (const kind of ["pointerup", "pointercancel"]) sheet.addEventListener(kind, (event) => { if (holdsPen(event)) last = null; });
sheet.addEventListener("keydown", (event) => {
  const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
  if (event.key === " ") {
    if (!event.repeat) isDown = !isDown;
    if (isDown) line(cursor, cursor);
    at("pen-state").textContent = isDown ? "Pen down" : "Pen up";
  } else if (way) {
    const limit = (value) => Math.min(sheet.width, Math.max(0, value));
    const next = { x: limit(cursor.x + 15 * way[0]), y: limit(cursor.y + 15 * way[1]) };
    if (isDown) line(cursor, next);
    cursor = next;
  } else return;
  event.preventDefault();
  at("pen").hidden = false;
  showPen();
});
at("draw").addEventListener("click", () => {
  at("drawing").hidden = !at("drawing").hidden;
  at("draw").setAttribute("aria-expanded", String(!at("drawing").hidden));
  if (!at("drawing").hidden) sheet.focus({ preventScroll: true });
});
at("clear").addEventListener("click", clear);
at("answer").addEventListener("click", () => {
  if (drawn) sheet.toBlob((blob) => ask(blob, "drawing.png", true), "image/png");
  else {
    asked++;  // an answer that is on its way would hide this
    at("busy").textContent = "";
    complain("The sheet is empty; draw something first.");
  }
});
clear();

// Drawings to try, each a button.
function sample(name) {
  const item = document.createElement("li"), button = document.createElement("button");
  const made = (kind) => document.createElementNS("http://www.w3.org/2000/svg", kind), icon = made("svg");
  icon.setAttribute("viewBox", "0 0 100 100"); icon.setAttribute("aria-hidden", "true");
  for (const [colour, outline] of SAMPLES[name]) {
    const shape = made("path");
    shape.setAttribute("d", outline); shape.setAttribute("fill", colour); shape.setAttribute("fill-rule", "evenodd");
    icon.append(shape);
  }
  button.type = "button";
  button.append(icon, name);
  button.addEventListener("click", () => drawSample(name));
  item.append(button);
  return item;
}

function drawSample(name) {
  const canvas = document.createElement("canvas"), own = canvas.getContext("2d");
  canvas.width = canvas.height = sheet.width;
  own.fillStyle = SHEET;
  own.fillRect(0, 0, canvas.width, canvas.height);
  own.scale(canvas.width / 100, canvas.height / 100);
  for (const [colour, outline] of SAMPLES[name]) {
    own.fillStyle = colour;
    own.fill(new Path2D(outline), "evenodd");
  }
  canvas.toBlob((blob) => ask(blob, `${name.replace("/", " or ")}.png`, true), "image/png");
}
