// Asks the server that this page came from.
"use strict";

function authorization() {
  const token = sessionStorage.getItem("token");
  return token ? { Authorization: `Bearer ${token}` } : {};
}

async function fetched(path, options = {}) {
  const response = await fetch(path, { ...options, headers: authorization() });
  if (response.status === 401) at("token-form").hidden = false;
  let content;
  try { content = await response.json(); } catch { throw new Error(`The server answered ${response.status} without a JSON body.`); }
  if (!response.ok) throw new Error(content.error);
  return content;
}

async function answerOf(picture, name, isDrawing) {
  const form = new FormData(), started = performance.now();
  form.append("images", picture, name);
  let content;
  try {
    content = await fetched(`v1/predict?steps=true&explain=true&drawing=${isDrawing}`, { method: "POST", body: form });
  } catch (error) {
    throw error instanceof TypeError ? new Error("The server does not answer; is it still running?") : error;
  }
  const { answers: [answer], seconds } = content;
  if (answer.fault) throw new Error(`${answer.name}: ${answer.fault}`);
  return { answer, time: `${Math.round(1000 * seconds)} ms on the server, ${Math.round(performance.now() - started)} ms in all.` };
}

// The model's name and classes, and the form for the token.
async function describe() {
  try {
    const { name, classes, metadata } = await fetched("v1/model");
    introduce({ name, classes, pictures: metadata.pictures ?? "garment" });
  } catch { /* the token form is shown, or the next request reports the error */ }
}
at("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("token", at("token").value);
  at("token-form").hidden = true;
  at("fault").hidden = true;
  describe();
});
describe();
