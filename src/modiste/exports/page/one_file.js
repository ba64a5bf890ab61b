// Answers pictures in this page itself: reads a picture, prepares it, and computes the network. Nothing leaves the page.
"use strict";

const { answerOf, computedFor, preparedFor } = (() => {
  const MODEL = JSON.parse(document.getElementById("model").textContent);
  const MOST_BYTES = 20 * 2 ** 20, LONGEST_READ = 4095, SHOWN_SIDE = 256, PATCHES = 7;
  const NEEDED = ["createImageBitmap", "DataView", "Float64Array", "Uint8ClampedArray", ...(MODEL.graph ? [] : ["DecompressionStream"])];
  const missing = NEEDED.filter((name) => typeof window[name] !== "function");
  const network = missing.length ? null : new Network(MODEL.graph, decoded(document.getElementById("weights").textContent));
  const [channels, side] = MODEL.image_shape;
  const asked = { ...MODEL.preparation, channels, side };
  let latest = 0;

  function decoded(text) {
    const binary = atob(text.trim()), content = new Uint8Array(binary.length);
    for (let place = 0; place < content.length; place++) content[place] = binary.charCodeAt(place);
    return content;
  }

  // The pixels of a picture file in red, green and blue, upright, on white.
  async function opened(file) {
    if (file.size > MOST_BYTES) throw new Error(`the file has ${file.size.toLocaleString("en")} bytes; expected at most ${MOST_BYTES.toLocaleString("en")}; make it smaller`);
    const content = await inMemory(file);
    if (!content.size) throw new Error("the file is empty; expected a photo");
    let bitmap;
    try {
      // Pictures come upright by default; the name of that default differs between browsers.
      const options = { colorSpaceConversion: MODEL.preparation.decoder > 1 ? "default" : "none" };
      bitmap = await createImageBitmap(content, options).catch((error) => {
        if (error instanceof TypeError) return createImageBitmap(content);  // Firefox before 93 takes no options
        throw error;
      });
    } catch (error) {
      throw error.name === "InvalidStateError" ? new Error("not an image that this browser can read; expected JPEG, PNG, WebP, GIF or BMP") : error;
    }
    const scale = Math.min(1, LONGEST_READ / Math.max(bitmap.width, bitmap.height)), canvas = document.createElement("canvas");
    canvas.width = Math.max(1, Math.round(bitmap.width * scale));
    canvas.height = Math.max(1, Math.round(bitmap.height * scale));
    const pen = penOf(canvas, { willReadFrequently: true });
    pen.fillStyle = "#ffffff";
    pen.fillRect(0, 0, canvas.width, canvas.height);
    pen.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    bitmap.close();
    const { data, width, height } = pen.getImageData(0, 0, canvas.width, canvas.height);
    release(canvas);
    const colours = new Uint8ClampedArray(3 * width * height);
    for (let place = 0, from = 0; place < colours.length; place += 3, from += 4) {
      colours[place] = data[from]; colours[place + 1] = data[from + 1]; colours[place + 2] = data[from + 2];
    }
    return { width, height, channels: 3, data: colours };
  }

  function urlOf({ width, height, channels: parts, data }) {
    const canvas = document.createElement("canvas"), pixels = new ImageData(width, height);
    for (let place = 0; place < width * height; place++) {
      for (let part = 0; part < 3; part++) pixels.data[4 * place + part] = data[parts * place + (parts === 3 ? part : 0)];
      pixels.data[4 * place + 3] = 255;
    }
    canvas.width = width; canvas.height = height;
    penOf(canvas).putImageData(pixels, 0, 0);
    const scale = Math.min(1, SHOWN_SIDE / Math.max(width, height)), small = document.createElement("canvas");
    small.width = Math.max(1, Math.round(width * scale)); small.height = Math.max(1, Math.round(height * scale));
    penOf(small).drawImage(canvas, 0, 0, small.width, small.height);
    const url = small.toDataURL();
    release(canvas); release(small);
    return url;
  }

  function penOf(canvas, options = {}) {
    const pen = canvas.getContext("2d", options);
    if (!pen) throw new Error("this browser has no memory left for pictures; reload the page");
    return pen;
  }

  // Gives a canvas's memory back at once; some browsers would keep it until they allow no more.
  function release(canvas) {
    canvas.width = canvas.height = 0;
  }

  // Whether pixels are read as they were drawn. Browsers that protect against fingerprinting change some.
  function readsTruly() {
    const canvas = document.createElement("canvas"), size = 16;
    canvas.width = canvas.height = size;
    const pen = penOf(canvas, { willReadFrequently: true }), colour = (x, y) => [16 * x, 16 * y, 8 * (x + y)];
    for (let y = 0; y < size; y++) for (let x = 0; x < size; x++) {
      pen.fillStyle = `rgb(${colour(x, y).join(",")})`;
      pen.fillRect(x, y, 1, 1);
    }
    const { data } = pen.getImageData(0, 0, size, size);
    return data.every((value, place) => value === [...colour((place >> 2) % size, place >> 6), 255][place % 4]);
  }

  const breath = () => new Promise((resolve) => { setTimeout(resolve); });

  function spans() {
    const half = Math.max(1, Math.floor(side / (2 * PATCHES))), starts = [];
    for (let start = 0; start < Math.max(side - half, 1); start += half) starts.push([start, Math.min(start + 2 * half, side)]);
    return starts;
  }

  // For each pixel, how much probability the answer loses when its surroundings are covered; null if another picture came.
  async function evidenceOf(planes, own, best, turn) {
    const total = new Float64Array(side * side), count = new Float64Array(side * side);
    let paused = performance.now();
    for (const [top, bottom] of spans()) for (const [left, right] of spans()) {
      const covered = planes.slice();
      for (let part = 0; part < channels; part++) for (let row = top; row < bottom; row++)
        covered.fill(0, (part * side + row) * side + left, (part * side + row) * side + right);
      const { probabilities } = await network.run(covered, [1, channels, side, side], ["probabilities"]), loss = own - probabilities[best];
      for (let row = top; row < bottom; row++) for (let column = left; column < right; column++) {
        total[row * side + column] += loss;
        count[row * side + column]++;
      }
      if (performance.now() - paused > 40) {
        await breath();
        paused = performance.now();
        if (turn !== latest) return null;
      }
    }
    return Array.from({ length: side }, (_, row) => Array.from({ length: side }, (_unused, column) => total[row * side + column] / count[row * side + column]));
  }

  // What a server's answer holds; the evidence is a promise, for it takes longer.
  async function answered(file, name, isDrawing) {
    const turn = ++latest, demandLatest = () => { if (turn !== latest) throw new Error("another picture came first"); };
    if (missing.length) throw new Error(`This browser lacks ${missing.join(", ")}; open this page in a newer one.`);
    if (!readsTruly()) throw new Error("This browser changes the pixels that a page reads, as a protection against fingerprinting. Allow this page to read them, or open it in another browser.");
    await breath();  // so that the page can say that it looks
    demandLatest();
    const started = performance.now();
    let prepared;
    try {
      const pixels = await opened(file);
      demandLatest();
      prepared = Preparation.prepare(pixels, asked);
    } catch (error) {
      throw new Error(`${name}: ${error.message}`);
    }
    const planes = Preparation.planesOf(prepared.image), found = await network.run(planes, [1, channels, side, side], MODEL.outputs);
    const shares = [...found.probabilities], best = shares.indexOf(Math.max(...shares));
    if (!shares.every(Number.isFinite)) throw new Error(`${name}: the network gives no finite probabilities for this picture`);
    const ranked = shares.map((share, label) => [MODEL.classes[label], share]).sort((a, b) => b[1] - a[1]);
    const answer = {
      label: MODEL.classes[best],
      probabilities: Object.fromEntries(ranked),
      none_of_the_classes: found.novelty ? found.novelty[0] > (isDrawing ? MODEL.drawing_limit : 1) : null,
      separated: prepared.separated,
      doubt: prepared.doubt,
      steps: prepared.steps.map(([step, picture]) => ({ name: step, picture: urlOf(picture) })),
      evidence: evidenceOf(planes, shares[best], best, turn),
    };
    return { answer, time: `${Math.round(performance.now() - started)} ms on this device.` };
  }

  // For checks of this page: probabilities and novelty of images, given as their bytes in base64, one after another.
  async function computed(text) {
    const images = decoded(text), length = channels * side * side, rows = [];
    for (let start = 0; start < images.length; start += length) {
      const found = await network.run(images.slice(start, start + length), [1, channels, side, side], MODEL.outputs);
      rows.push({ probabilities: [...found.probabilities], novelty: found.novelty ? found.novelty[0] : null });
    }
    return rows;
  }

  // For checks of this page: what the preparation makes of a picture file, given in base64; `changes` to what is asked.
  async function prepared(text, changes = {}) {
    try {
      const { image, steps, ...facts } = Preparation.prepare(await opened(new Blob([decoded(text)])), { ...asked, ...changes });
      return { ...facts, image: btoa(Array.from(image.data, (one) => String.fromCharCode(one)).join("")), steps: steps.map(([step]) => step) };
    } catch (error) {
      return { fault: error.message };
    }
  }

  introduce({ name: MODEL.name, classes: MODEL.classes, pictures: MODEL.preparation.way });
  return { answerOf: answered, computedFor: computed, preparedFor: prepared };
})();
