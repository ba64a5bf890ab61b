// Asks the server that this page came from.
"use strict";

const FORM_BYTES = 2 ** 10;  // most that the form adds to a picture
let token = "", isRefused = false, mostBytes = Infinity, underWay = null;
try { token = sessionStorage.getItem("token") ?? ""; } catch { /* blocked here: the token lasts as long as the page */ }

function keep(given) {
  token = given;
  try { sessionStorage.setItem("token", given); } catch { /* as above */ }
}

async function fetched(path, options = {}) {
  const response = await fetch(path, { ...options, headers: token ? { Authorization: `Bearer ${token}` } : {} });
  isRefused = response.status === 401;
  if (isRefused) at("token-form").hidden = false;
  let content;
  try { content = await response.json(); } catch { throw new Error(`The server answered ${response.status} without a JSON body.`); }
  if (!response.ok) throw new Error(content?.error ?? `The server answered ${response.status}.`);
  return content;
}

const megabytes = (bytes) => `${(bytes / 2 ** 20).toFixed(1)} MiB`;

async function answerOf(picture, name, isDrawing) {
  if (picture.size > mostBytes) throw new Error(`${name} has ${megabytes(picture.size)}; this server takes at most ${megabytes(mostBytes)}; make the picture smaller.`);
  const form = new FormData(), started = performance.now();
  underWay?.abort();  // its answer would be dropped
  const { signal } = underWay = new AbortController();
  form.append("images", await inMemory(picture).catch(({ message }) => { throw new Error(`${name}: ${message}`); }), name);
  let content;
  try {
    content = await fetched(`v1/predict?steps=true&explain=true&drawing=${isDrawing}`, { method: "POST", body: form, signal });
  } catch (error) {
    throw error instanceof TypeError ? new Error("The server does not answer; is it still running?") : error;
  }
  const { answers: [answer], seconds } = content;
  if (answer.fault) throw new Error(`${answer.name}: ${answer.fault}`);
  return { answer, time: `${Math.round(1000 * seconds)} ms on the server, ${Math.round(performance.now() - started)} ms in all.` };
}

// Fits the page to the server's model; returns why it cannot, or nothing.
async function meetModel() {
  try {
    const { name, classes, metadata, limits } = await fetched("v1/model");
    mostBytes = limits.body_bytes - FORM_BYTES;
    introduce({ name, classes, pictures: metadata.pictures ?? "garment" });
    return "";
  } catch (error) {
    return error.message;
  }
}
at("token-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const given = at("token").value.trim();
  let fault = "A token has letters, digits and signs of ASCII alone; copy it again.";
  if (/^[\x21-\x7e]+( +[\x21-\x7e]+)*$/.test(given)) {
    keep(given);
    fault = await meetModel();
    if (isRefused) fault = "The server does not take this token; copy it again.";
  }
  at("token-form").hidden = !fault;
  at("fault").hidden = true;
  if (fault) { complain(fault); at("token").focus(); }
});
meetModel();  // if it fails, the form for the token is there, or the next picture says why
