// Prepares a picture for the network: the same steps as modiste.photo in Python, with the same bytes as their result.
"use strict";

// A picture is { width, height, channels, data }, its values row by row, the channels of a pixel beside one another.
const Preparation = (() => {
  const LUMINANCE = [0.299, 0.587, 0.114];
  const FRACTION_BITS = 22;  // of Pillow's weights for bytes
  const BOX = { support: 0.5, weigh: (x) => (x > -0.5 && x <= 0.5 ? 1 : 0) };
  const BICUBIC = {
    support: 2,
    weigh: (value) => {
      const x = Math.abs(value), a = -0.5;
      if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
      return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
    },
  };

  function round(value) {  // half to even, as Python and NumPy
    const low = Math.floor(value), rest = value - low;
    return rest > 0.5 || (rest === 0.5 && low % 2 !== 0) ? low + 1 : low;
  }

  const asByte = (value) => Math.min(255, Math.max(0, round(value)));
  const asBytes = (plane) => ({ ...plane, channels: 1, data: Uint8ClampedArray.from(plane.data, asByte) });

  // Pillow's weights of the pixels from `from`.start that make each pixel of a line of `to` pixels.
  function weightsOf(from, to, filter) {
    const scale = from / to, wide = Math.max(1, scale), reach = filter.support * wide;
    return Array.from({ length: to }, (_, place) => {
      const centre = (place + 0.5) * scale, start = Math.max(0, Math.trunc(centre - reach + 0.5));
      const end = Math.min(from, Math.trunc(centre + reach + 0.5)), weights = [];
      let sum = 0;
      for (let x = 0; x < end - start; x++) {
        weights.push(filter.weigh((x + start - centre + 0.5) * (1 / wide)));
        sum += weights[x];
      }
      return { start, weights: sum === 0 ? weights : weights.map((one) => one / sum) };
    });
  }

  const asInteger = (weight) => Math.trunc(weight * 2 ** FRACTION_BITS + (weight < 0 ? -0.5 : 0.5));
  const fromInteger = (sum) => Math.min(255, Math.max(0, (sum + 2 ** (FRACTION_BITS - 1)) >> FRACTION_BITS));

  // Resizes each line of `length` values that lie `step` apart.
  function resizeLines(data, made, lines, starts, length, to, step, filter) {
    const table = weightsOf(length, to, filter), isBytes = !(data instanceof Float32Array);
    if (isBytes) for (const one of table) one.weights = one.weights.map(asInteger);
    for (let line = 0; line < lines; line++) {
      const [from, into] = starts(line);
      for (let place = 0; place < to; place++) {
        const { start, weights } = table[place];
        let sum = 0;
        for (let k = 0, at = from + start * step; k < weights.length; k++, at += step) sum += data[at] * weights[k];
        made[into + place * step] = isBytes ? fromInteger(sum) : sum;
      }
    }
  }

  const emptied = (data, size) => (data instanceof Float32Array ? new Float32Array(size) : new Uint8ClampedArray(size));

  function across(picture, width, filter) {
    const { height, channels, data } = picture, made = emptied(data, width * height * channels);
    const starts = (line) => {
      const row = Math.floor(line / channels), channel = line % channels;
      return [row * picture.width * channels + channel, row * width * channels + channel];
    };
    resizeLines(data, made, height * channels, starts, picture.width, width, channels, filter);
    return { width, height, channels, data: made };
  }

  function down(picture, height, filter) {
    const { width, channels, data } = picture, step = width * channels, made = emptied(data, step * height);
    resizeLines(data, made, step, (line) => [line, line], picture.height, height, step, filter);
    return { width, height, channels, data: made };
  }

  // As Pillow, rounded after each pass: bytes stay bytes, other numbers are float32. Pillow goes across first; since
  // version 13 it goes down first where the height shrinks by more than twice as many pixels as the width.
  function resize(picture, width, height, filter, limits) {
    const isTall = limits.VERTICAL_FIRST && picture.height - height > 2 * (picture.width - width);
    const wide = (one) => (one.width === width ? one : across(one, width, filter));
    const high = (one) => (one.height === height ? one : down(one, height, filter));
    return isTall ? wide(high(picture)) : high(wide(picture));
  }

  // Pillow's thumbnail: the longer side becomes `most`, the other the whole number that keeps the aspect best.
  function thumbnail(picture, limits) {
    const { width, height } = picture, aspect = width / height, most = limits.LONGEST_SIDE;
    if (width <= most && height <= most) return picture;
    const best = (number, error) => {
      const [low, high] = [Math.floor(number), Math.ceil(number)];
      return Math.max(1, error(high) < error(low) ? high : low);
    };
    if (aspect <= 1) return resize(picture, best(most * aspect, (one) => Math.abs(aspect - one / most)), most, BOX, limits);
    return resize(picture, most, best(most / aspect, (one) => (one === 0 ? 0 : Math.abs(aspect - most / one))), BOX, limits);
  }

  function luminance({ width, height, data }) {
    const grey = new Float64Array(width * height);
    for (let place = 0; place < grey.length; place++)
      grey[place] = data[3 * place] * LUMINANCE[0] + data[3 * place + 1] * LUMINANCE[1] + data[3 * place + 2] * LUMINANCE[2];
    return { width, height, data: grey };
  }

  const plane = (picture, channel) => Float32Array.from({ length: picture.width * picture.height }, (_, place) => picture.data[picture.channels * place + channel]);

  // The plane of numbers with its longer side, or both sides, resized.
  function resized({ width, height, data }, side, keepAspect, limits) {
    const scale = side / Math.max(height, width);
    const [wide, high] = keepAspect ? [width, height].map((one) => Math.max(1, round(one * scale))) : [side, side];
    return resize({ width, height, channels: 1, data: Float32Array.from(data) }, wide, high, scale < 1 ? BOX : BICUBIC, limits);
  }

  function centred(picture, side) {
    const { width, height, channels, data } = picture, square = new Uint8ClampedArray(side * side * channels);
    const top = Math.floor((side - height) / 2), left = Math.floor((side - width) / 2);
    for (let row = 0; row < height; row++)
      square.set(data.subarray(row * width * channels, (row + 1) * width * channels), ((top + row) * side + left) * channels);
    return { width: side, height: side, channels, data: square };
  }

  function median(values) {
    const sorted = Float64Array.from(values).sort(), half = sorted.length >> 1;
    return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
  }

  function quantile(values, share) {  // as NumPy interpolates
    const sorted = Float64Array.from(values).sort(), at = (sorted.length - 1) * share, low = Math.floor(at), rest = at - low;
    const first = sorted[low], last = sorted[Math.min(low + 1, sorted.length - 1)], gap = last - first;
    return rest >= 0.5 ? last - gap * (1 - rest) : first + gap * rest;
  }

  const ringOf = (width, height, share) => Math.max(1, round(share * Math.min(height, width)));
  const isEdge = (row, column, width, height, ring) => row < ring || column < ring || row >= height - ring || column >= width - ring;

  // The terms of a plane at a pixel: 1, and row and column from -1 to 1.
  function termsOf(row, column, width, height) {
    return [1, -1 + row * (2 / (height - 1)), -1 + column * (2 / (width - 1))];
  }

  // Solves a system of three equations for three right sides, with the largest pivots.
  function solve(matrix, right) {
    const rows = matrix.map((row, number) => [...row, ...right[number]]);
    for (let step = 0; step < 3; step++) {
      let best = step;
      for (let row = step + 1; row < 3; row++) if (Math.abs(rows[row][step]) > Math.abs(rows[best][step])) best = row;
      [rows[step], rows[best]] = [rows[best], rows[step]];
      for (let row = step + 1; row < 3; row++) {
        const factor = rows[row][step] / rows[step][step];
        for (let column = step; column < 6; column++) rows[row][column] -= factor * rows[step][column];
      }
    }
    for (let step = 2; step >= 0; step--) for (let column = 3; column < 6; column++) {
      let value = rows[step][column];
      for (let other = step + 1; other < 3; other++) value -= rows[step][other] * rows[other][column];
      rows[step][column] = value / rows[step][step];
    }
    return rows.map((row) => row.slice(3));
  }

  const rootMeanSquare = (red, green, blue) => Math.sqrt((red * red + green * green + blue * blue) / 3);

  // Fits a plane to each colour of the edge, again and again without outliers; returns the planes and the edge's scatter.
  function fitBackground(image, limits) {
    const { width, height, data } = image, ring = ringOf(width, height, limits.RING), edge = [];
    for (let row = 0; row < height; row++) for (let column = 0; column < width; column++)
      if (isEdge(row, column, width, height, ring)) {
        const place = 3 * (row * width + column);
        edge.push({ terms: termsOf(row, column, width, height), colour: [data[place], data[place + 1], data[place + 2]] });
      }
    const middle = [0, 1, 2].map((part) => median(edge.map((one) => one.colour[part])));
    const away = edge.map((one) => Math.max(...one.colour.map((value, part) => Math.abs(value - middle[part]))));
    const first = Math.max(quantile(away, limits.FIRST_FIT), limits.LEAST_CONTRAST);
    let kept = away.map((one) => one <= first), planes = [], scatter = 0;
    for (let fit = 0; fit < limits.FITS; fit++) {
      const some = edge.filter((_, number) => kept[number]), sums = (value) => some.reduce((sum, one) => sum + value(one), 0);
      const matrix = [0, 1, 2].map((i) => [0, 1, 2].map((j) => sums(({ terms }) => terms[i] * terms[j])));
      planes = solve(matrix, [0, 1, 2].map((i) => [0, 1, 2].map((part) => sums(({ terms, colour }) => terms[i] * colour[part]))));
      const error = edge.map(({ terms, colour }) => rootMeanSquare(...colour.map((value, part) => value - at(terms, planes, part))));
      scatter = 1.4826 * median(error);
      kept = error.map((one) => one <= Math.max(3 * scatter, limits.LEAST_CONTRAST / 2));
    }
    return { planes, scatter };
  }

  const at = (terms, planes, part) => terms[0] * planes[0][part] + terms[1] * planes[1][part] + terms[2] * planes[2][part];

  // Filters rows and columns with a symmetric kernel, given from its middle; `outside` maps a place beyond the edge inside.
  function filtered({ width, height, data }, kernel, outside) {
    const along = (source, lines, length, start, step) => {
      const made = new Float64Array(source.length);
      for (let line = 0; line < lines; line++) for (let place = 0; place < length; place++) {
        const value = (other) => source[start(line) + step * outside(other, length)];
        let sum = value(place) * kernel[0];
        for (let away = kernel.length - 1; away >= 1; away--) sum += (value(place - away) + value(place + away)) * kernel[away];
        made[start(line) + step * place] = sum;
      }
      return made;
    };
    const down = along(data, width, height, (line) => line, width);
    return { width, height, data: along(down, height, width, (line) => line * width, 1) };
  }

  const nearest = (place, length) => Math.min(length - 1, Math.max(0, place));
  function reflected(place, length) {
    const turn = ((place % (2 * length)) + 2 * length) % (2 * length);
    return turn < length ? turn : 2 * length - 1 - turn;
  }

  // A mask is { width, height, data } with 0 and 1.
  function widened(mask, times) {
    const { width, height } = mask;
    let { data } = mask;
    for (let time = 0; time < times; time++) {
      const wider = data.slice();
      for (let place = 0; place < data.length; place++) if (data[place]) {
        const column = place % width;
        if (place >= width) wider[place - width] = 1;
        if (place + width < data.length) wider[place + width] = 1;
        if (column > 0) wider[place - 1] = 1;
        if (column < width - 1) wider[place + 1] = 1;
      }
      data = wider;
    }
    return { width, height, data };
  }

  function padded({ width, height, data }, by) {
    const wide = width + 2 * by, made = new Uint8Array(wide * (height + 2 * by));
    for (let row = 0; row < height; row++) made.set(data.subarray(row * width, (row + 1) * width), (row + by) * wide + by);
    return { width: wide, height: height + 2 * by, data: made };
  }

  function unpadded({ width, height, data }, by) {
    const wide = width - 2 * by, high = height - 2 * by, made = new Uint8Array(wide * high);
    for (let row = 0; row < high; row++) made.set(data.subarray((row + by) * width + by, (row + by) * width + by + wide), row * wide);
    return { width: wide, height: high, data: made };
  }

  const inverse = (mask) => ({ ...mask, data: mask.data.map((one) => 1 - one) });

  function cleaned(mask, limits) {
    const gaps = inverse(widened(padded(mask, limits.CLOSED), limits.CLOSED));
    const closed = unpadded(inverse(widened(gaps, limits.CLOSED)), limits.CLOSED);
    return largestParts({ ...closed, data: closed.data.map((one, place) => one | mask.data[place]) });
  }

  // Numbers the connected parts of a mask, with eight neighbours, from 1; returns labels, and the area of each part.
  function label({ width, height, data }) {
    const labels = new Int32Array(data.length), areas = [0], waiting = [];
    for (let start = 0; start < data.length; start++) {
      if (!data[start] || labels[start]) continue;
      const name = areas.length;
      areas.push(0);
      labels[start] = name;
      waiting.push(start);
      while (waiting.length) {
        const place = waiting.pop(), row = Math.floor(place / width), column = place % width;
        areas[name]++;
        for (let y = Math.max(0, row - 1); y <= Math.min(height - 1, row + 1); y++)
          for (let x = Math.max(0, column - 1); x <= Math.min(width - 1, column + 1); x++) {
            const other = y * width + x;
            if (data[other] && !labels[other]) { labels[other] = name; waiting.push(other); }
          }
      }
    }
    return { labels, areas };
  }

  function largestParts(mask) {
    const { labels, areas } = label(mask), least = Math.max(0.05 * Math.max(...areas), 4);
    return areas.length === 1 ? mask : { ...mask, data: Uint8Array.from(labels, (one) => (one && areas[one] >= least ? 1 : 0)) };
  }

  const count = (data) => data.reduce((sum, one) => sum + one, 0);
  const shareOf = (mask) => count(mask.data) / mask.data.length;

  function edgeShare(mask, limits) {
    const { width, height, data } = mask, ring = ringOf(width, height, limits.RING);
    let covered = 0, all = 0;
    for (let place = 0; place < data.length; place++) if (isEdge(Math.floor(place / width), place % width, width, height, ring)) { all++; covered += data[place]; }
    return covered / all;
  }

  function isDoubtful(mask, limits) {
    const share = shareOf(mask);
    return share < limits.LEAST_AREA || share > limits.MOST_AREA || edgeShare(mask, limits) > limits.MOST_EDGE;
  }

  function overlap(one, other) {
    let both = 0, either = 0;
    one.data.forEach((value, place) => { both += value & other.data[place]; either += value | other.data[place]; });
    return either ? both / either : 1;
  }

  function steadyMask(distance, start, limits) {
    const above = (limit) => cleaned({ ...distance, data: Uint8Array.from(distance.data, (one) => (one > limit ? 1 : 0)) }, limits);
    let threshold = start, mask = above(threshold);
    for (let turn = 0; turn < limits.THRESHOLDS; turn++) {
      const lower = Math.max(limits.LEAST_CONTRAST, limits.LOWERED * threshold), wider = lower === threshold ? mask : above(lower);
      if (overlap(mask, wider) >= limits.LEAST_STEADINESS && !isDoubtful(mask, limits)) return mask;
      if (lower === limits.LEAST_CONTRAST) return null;
      mask = wider;
      threshold = lower;
    }
    return null;
  }

  const meanOf = (values, keep) => {
    let sum = 0, many = 0;
    values.forEach((value, place) => { if (keep(place)) { sum += value; many++; } });
    return sum / many;
  };

  function reduced(photo, limits) {
    const scale = limits.WORKING_SIDE / Math.max(photo.width, photo.height);
    return scale < 1 ? resize(photo, Math.max(1, round(photo.width * scale)), Math.max(1, round(photo.height * scale)), BOX, limits) : photo;
  }

  // Separates the garment from a plain background: luminance, mask, whether it is darker, and any doubt.
  function findOnPlain(photo, limits) {
    const small = reduced(photo, limits), { width, height } = small, { planes, scatter } = fitBackground(small, limits);
    const ground = new Float64Array(small.data.length), distance = { width, height, data: new Float64Array(width * height) };
    for (let place = 0; place < width * height; place++) {
      const terms = termsOf(Math.floor(place / width), place % width, width, height);
      for (let part = 0; part < 3; part++) ground[3 * place + part] = at(terms, planes, part);
      distance.data[place] = rootMeanSquare(...[0, 1, 2].map((part) => small.data[3 * place + part] - ground[3 * place + part]));
    }
    if (shareOf({ data: distance.data.map((one) => (one > limits.LEAST_CONTRAST ? 1 : 0)) }) < limits.LEAST_AREA)
      throw new Error("nothing stands out from the background; expected a garment on a plain one");
    const smooth = scatter > 1 ? filtered(distance, limits.SMOOTHING, reflected) : distance;
    const start = Math.max(limits.LEAST_CONTRAST, limits.NOISE_FACTOR * scatter);
    const mask = scatter <= limits.MOST_SCATTER ? steadyMask(smooth, start, limits) : null;
    const grey = luminance(small), behind = luminance({ width, height, data: ground });
    if (!mask) {
      const all = { width, height, data: new Uint8Array(width * height).fill(1) };
      return { grey, mask: all, darker: meanOf(behind.data, () => true) > 127, separated: false, doubt: limits.UNCLEAR };
    }
    const difference = grey.data.map((value, place) => value - behind.data[place]);
    return { grey, mask, difference, darker: meanOf(difference, (place) => mask.data[place]) < 0, separated: true, doubt: "" };
  }

  // The mask's largest part, with the small parts in its bounding box; null if no other part is large.
  function withoutOthers(mask, limits) {
    const { labels, areas } = label(mask), sorted = areas.slice(1).sort((a, b) => b - a);
    if (sorted.length < 2 || sorted[1] < limits.LEAST_OTHER * sorted[0]) return null;
    const largest = areas.indexOf(sorted[0], 1), box = boxOf({ ...mask, data: labels.map((one) => (one === largest ? 1 : 0)) });
    const isNear = (one) => one === largest || (one > 0 && areas[one] < limits.LEAST_OTHER * sorted[0]);
    const isInside = (place) => {
      const row = Math.floor(place / mask.width), column = place % mask.width;
      return row >= box.top && row <= box.bottom && column >= box.left && column <= box.right;
    };
    return { ...mask, data: Uint8Array.from(labels, (one, place) => (isNear(one) && isInside(place) ? 1 : 0)) };
  }

  function withNotes(garment, limits) {
    if (!garment.separated) return garment;
    const largest = withoutOthers(garment.mask, limits), mask = largest ?? garment.mask, notes = [];
    let { darker } = garment;
    if (largest) {
      darker = meanOf(garment.difference, (place) => largest.data[place]) < 0;
      notes.push(limits.SEVERAL);
    }
    if (edgeShare(mask, limits) >= limits.LEAST_CUT) notes.push(limits.CUT_OFF);
    return { ...garment, mask, darker, doubt: notes.join("; ") };
  }

  function boxOf({ width, data }) {
    const box = { top: Infinity, bottom: -1, left: Infinity, right: -1 };
    data.forEach((one, place) => {
      if (!one) return;
      const row = Math.floor(place / width), column = place % width;
      box.top = Math.min(box.top, row); box.bottom = Math.max(box.bottom, row);
      box.left = Math.min(box.left, column); box.right = Math.max(box.right, column);
    });
    return box;
  }

  function cropped({ width, data }, { top, bottom, left, right }) {
    const wide = right - left + 1, made = new Float64Array(wide * (bottom - top + 1));
    for (let row = top; row <= bottom; row++) made.set(data.subarray(row * width + left, row * width + right + 1), (row - top) * wide);
    return { width: wide, height: bottom - top + 1, data: made };
  }

  function sharpened(image, limits) {
    const source = { ...image, data: Float64Array.from(image.data) }, blurred = filtered(source, limits.BLUR, nearest);
    return { ...source, data: source.data.map((value, place) => value + limits.SHARPNESS * (value - blurred.data[place])) };
  }

  function isReady({ width, height, data }, side) {
    if (width !== side || height !== side) return false;
    for (let place = 0; place < data.length; place += 3) if (data[place] !== data[place + 1] || data[place] !== data[place + 2]) return false;
    const last = side - 1;
    return [0, last, last * side, last * side + last].some((place) => data[3 * place] === 0);
  }

  function prepareGarment(photo, { side, limits }) {
    if (isReady(photo, side)) {
      const image = { width: side, height: side, channels: 1, data: photo.data.filter((_, place) => place % 3 === 0) };
      return { image, steps: [["as it is", image]], separated: true, inverted: false, doubt: "" };
    }
    const garment = withNotes(findOnPlain(photo, limits), limits), { grey, mask, darker } = garment;
    const alone = { ...grey, data: grey.data.map((value, place) => (mask.data[place] ? (darker ? 255 - value : value) : 0)) };
    const tight = cropped(alone, boxOf(mask)), image = centred(asBytes(sharpened(resized(tight, side, true, limits), limits)), side);
    const steps = [["photo", photo], ["garment alone", asBytes(alone)], ["cropped", asBytes(tight)], ["network's view", image]];
    return { image, steps, separated: garment.separated, inverted: darker, doubt: garment.doubt };
  }

  function prepareAll(photo, { side, channels, limits }, keepAspect) {
    const { width, height } = photo;
    const planes = channels === 1 ? [luminance(photo)] : [0, 1, 2].map((part) => ({ width, height, data: plane(photo, part) }));
    const small = planes.map((one) => asBytes(resized(one, side, keepAspect, limits)));
    const together = { ...small[0], channels, data: new Uint8ClampedArray(small[0].data.length * channels) };
    small.forEach((one, part) => one.data.forEach((value, place) => { together.data[channels * place + part] = value; }));
    const image = centred(together, side);
    return { image, steps: [["photo", photo], ["network's view", image]], separated: true, inverted: false, doubt: "" };
  }

  const WAYS = {
    garment: prepareGarment,
    whole: (photo, asked) => prepareAll(photo, asked, true),
    stretched: (photo, asked) => prepareAll(photo, asked, false),
  };

  // Returns the network's image, the steps on the way to it, and what is known of the garment; an Error says what is wrong.
  function prepare(picture, asked) {
    const { width, height } = picture, { limits } = asked;
    if (Math.min(width, height) < limits.LEAST_SIDE || Math.max(width, height) > limits.MOST_ASPECT * Math.min(width, height))
      throw new Error(`the image is ${width.toLocaleString("en")} x ${height.toLocaleString("en")}; expected at least ${limits.LEAST_SIDE} pixels a side, and no side ${limits.MOST_ASPECT} times the other`);
    return WAYS[asked.way](thumbnail(picture, limits), asked);
  }

  // The image with its channels first, as the network takes it.
  function planesOf({ width, height, channels, data }) {
    const planes = new Uint8Array(data.length), places = width * height;
    for (let place = 0; place < places; place++) for (let part = 0; part < channels; part++) planes[part * places + place] = data[place * channels + part];
    return planes;
  }

  return { prepare, planesOf };
})();
