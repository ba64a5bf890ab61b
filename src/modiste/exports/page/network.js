// Computes an exported network: a small interpreter of the ONNX operators that Modiste's convolutional networks use.
"use strict";

// A tensor is { shape, data }. Everything is computed in double precision, so that only the stored weights are rounded.
const Network = (() => {
  const sizeOf = (shape) => shape.reduce((product, one) => product * one, 1);

  function stridesOf(shape) {
    const strides = new Array(shape.length);
    for (let axis = shape.length - 1, step = 1; axis >= 0; step *= shape[axis--]) strides[axis] = step;
    return strides;
  }

  // Calls visit(place, other) for each place of an array of this shape, with the places of another in these steps.
  function walk(shape, steps, start, visit) {
    const index = new Array(shape.length).fill(0), size = sizeOf(shape);
    for (let place = 0, other = start; place < size; place++) {
      visit(place, other);
      for (let axis = shape.length - 1; axis >= 0; axis--) {
        other += steps[axis];
        if (++index[axis] < shape[axis]) break;
        index[axis] = 0;
        other -= steps[axis] * shape[axis];
      }
    }
  }

  function spread(tensor, shape) {  // as NumPy broadcasts
    const own = stridesOf(tensor.shape), missing = shape.length - tensor.shape.length, data = new Float64Array(sizeOf(shape));
    const steps = shape.map((_, axis) => axis < missing || tensor.shape[axis - missing] === 1 ? 0 : own[axis - missing]);
    walk(shape, steps, 0, (place, other) => { data[place] = tensor.data[other]; });
    return data;
  }

  const isSame = (one, other) => one.length === other.length && one.every((size, axis) => size === other[axis]);

  function elementwise(one, other, combine) {
    const rank = Math.max(one.shape.length, other.shape.length);
    const shape = Array.from({ length: rank }, (_, axis) => Math.max(
      one.shape[axis - rank + one.shape.length] ?? 1, other.shape[axis - rank + other.shape.length] ?? 1));
    const left = isSame(one.shape, shape) ? one.data : spread(one, shape);
    const right = isSame(other.shape, shape) ? other.data : spread(other, shape);
    const data = new Float64Array(left.length);
    for (let place = 0; place < data.length; place++) data[place] = combine(left[place], right[place]);
    return { shape, data };
  }

  const each = (tensor, change) => ({ shape: tensor.shape, data: tensor.data.map(change) });

  function rearranged(tensor, shape, steps, start) {
    const data = new Float64Array(sizeOf(shape));
    walk(shape, steps, start, (place, other) => { data[place] = tensor.data[other]; });
    return { shape, data };
  }

  // out[from + m * columns + n] = the sum over k of left[m, k] * right[n, k]. Blocks of four rows and two columns share
  // what they read: eight sums stay in registers.
  function dots(left, rows, right, columns, length, out, from, leftFrom) {
    const evenRows = rows - (rows % 4), evenColumns = columns - (columns % 2);
    for (let row = 0; row < evenRows; row += 4) for (let column = 0; column < evenColumns; column += 2) {
      let a0 = 0, a1 = 0, b0 = 0, b1 = 0, c0 = 0, c1 = 0, d0 = 0, d1 = 0;
      const start = leftFrom + row * length, other = column * length;
      for (let k = 0; k < length; k++) {
        const x = right[other + k], y = right[other + length + k];
        const a = left[start + k], b = left[start + length + k], c = left[start + 2 * length + k], d = left[start + 3 * length + k];
        a0 += a * x; a1 += a * y; b0 += b * x; b1 += b * y; c0 += c * x; c1 += c * y; d0 += d * x; d1 += d * y;
      }
      const first = from + row * columns + column, second = first + columns, third = second + columns, fourth = third + columns;
      out[first] = a0; out[second] = b0; out[third] = c0; out[fourth] = d0;
      out[first + 1] = a1; out[second + 1] = b1; out[third + 1] = c1; out[fourth + 1] = d1;
    }
    for (let row = 0; row < rows; row++) for (let column = row < evenRows ? evenColumns : 0; column < columns; column++) {
      let sum = 0;
      for (let k = 0; k < length; k++) sum += left[leftFrom + row * length + k] * right[column * length + k];
      out[from + row * columns + column] = sum;
    }
  }

  // One row for each place of the filter on an image: the values that it covers, 0 outside the image.
  function covered(data, start, channels, height, width, high, wide, node) {
    const [rows, columns] = node.kernel, [stepY, stepX] = node.strides, [top, left] = node.pads;
    const length = channels * rows * columns, out = new Float64Array(high * wide * length);
    for (let y = 0, place = 0; y < high; y++) for (let x = 0; x < wide; x++) {
      for (let channel = 0; channel < channels; channel++) for (let row = 0; row < rows; row++) {
        const sourceY = y * stepY - top + row, line = start + (channel * height + sourceY) * width;
        for (let column = 0; column < columns; column++, place++) {
          const sourceX = x * stepX - left + column;
          if (sourceY >= 0 && sourceY < height && sourceX >= 0 && sourceX < width) out[place] = data[line + sourceX];
        }
      }
    }
    return out;
  }

  const extent = (size, node, axis) =>
    Math.floor((size + node.pads[axis] + node.pads[axis + 2] - node.kernel[axis]) / node.strides[axis]) + 1;

  function convolve(node, images, weight, bias) {
    const [count, channels, height, width] = images.shape, filters = weight.shape[0], part = weight.shape[1];
    const high = extent(height, node, 0), wide = extent(width, node, 1), places = high * wide;
    const length = part * node.kernel[0] * node.kernel[1], groups = channels / part, many = filters / groups;
    const data = new Float64Array(count * filters * places);
    for (let image = 0; image < count; image++) for (let group = 0; group < groups; group++) {
      const start = (image * channels + group * part) * height * width;
      const patches = covered(images.data, start, part, height, width, high, wide, node);
      dots(weight.data, many, patches, places, length, data, (image * filters + group * many) * places, group * many * length);
    }
    if (bias) scaled(data, filters, places, () => 1, (channel) => bias.data[channel]);
    return { shape: [count, filters, high, wide], data };
  }

  function maxPool(node, images) {
    const [count, channels, height, width] = images.shape, high = extent(height, node, 0), wide = extent(width, node, 1);
    const data = new Float64Array(count * channels * high * wide);
    for (let map = 0, place = 0; map < count * channels; map++) for (let y = 0; y < high; y++) for (let x = 0; x < wide; x++) {
      const top = y * node.strides[0] - node.pads[0], left = x * node.strides[1] - node.pads[1];
      let most = -Infinity;
      for (let row = Math.max(0, top); row < Math.min(height, top + node.kernel[0]); row++)
        for (let column = Math.max(0, left); column < Math.min(width, left + node.kernel[1]); column++)
          most = Math.max(most, images.data[(map * height + row) * width + column]);
      data[place++] = most;
    }
    return { shape: [count, channels, high, wide], data };
  }

  const transposed = ({ shape: [rows, columns], data }) => rearranged({ data }, [columns, rows], [1, columns], 0);

  function matMul(left, right) {
    const length = left.shape[left.shape.length - 1], rows = left.data.length / length;
    const others = right.shape.length === 1 ? { shape: [1, length], data: right.data } : transposed(right);
    const columns = others.shape[0], data = new Float64Array(rows * columns);
    dots(left.data, rows, others.data, columns, length, data, 0, 0);
    return { shape: [...left.shape.slice(0, -1), ...(right.shape.length === 1 ? [] : [columns])], data };
  }

  function gemm(node, left, right, bias) {
    const others = node.transB ? right : transposed(right), [columns, length] = others.shape, rows = left.shape[0];
    const data = new Float64Array(rows * columns);
    dots(others.data, columns, left.data, rows, length, data, 0, 0);  // the many rows of the weights, four at a time
    const product = each(transposed({ shape: [columns, rows], data }), (value) => node.alpha * value);
    return bias ? elementwise(product, each(bias, (value) => node.beta * value), (a, b) => a + b) : product;
  }

  const positive = (axis, rank) => (axis < 0 ? axis + rank : axis);

  function reduce(node, tensor, axes, first, combine) {
    const rank = tensor.shape.length, gone = new Set(axes ? [...axes.data].map((one) => positive(one, rank)) : tensor.shape.keys());
    const kept = tensor.shape.map((size, axis) => (gone.has(axis) ? 1 : size)), own = stridesOf(kept);
    const data = new Float64Array(sizeOf(kept)).fill(first);
    walk(tensor.shape, own.map((step, axis) => (gone.has(axis) ? 0 : step)), 0, (place, other) => {
      data[other] = combine(data[other], tensor.data[place]);
    });
    return { shape: node.keepdims ? kept : tensor.shape.filter((_, axis) => !gone.has(axis)), data };
  }

  function mean(node, tensor, axes) {
    const sums = reduce(node, tensor, axes, 0, (a, b) => a + b), count = tensor.data.length / sums.data.length;
    return each(sums, (value) => value / count);
  }

  function concatenate(node, ...tensors) {
    const axis = positive(node.axis, tensors[0].shape.length), shape = [...tensors[0].shape];
    shape[axis] = tensors.reduce((sum, one) => sum + one.shape[axis], 0);
    const data = new Float64Array(sizeOf(shape)), outer = sizeOf(shape.slice(0, axis));
    for (let row = 0, place = 0; row < outer; row++) for (const one of tensors) {
      const length = one.data.length / outer;
      data.set(one.data.subarray(row * length, (row + 1) * length), place);
      place += length;
    }
    return { shape, data };
  }

  function reshape(tensor, asked) {
    const shape = [...asked.data], known = sizeOf(shape.filter((size) => size !== -1));
    return { shape: shape.map((size) => (size === -1 ? tensor.data.length / known : size)), data: tensor.data };
  }

  function unsqueeze(tensor, axes) {
    const rank = tensor.shape.length + axes.data.length, added = new Set([...axes.data].map((one) => positive(one, rank)));
    const sizes = tensor.shape[Symbol.iterator]();
    return { shape: Array.from({ length: rank }, (_, axis) => (added.has(axis) ? 1 : sizes.next().value)), data: tensor.data };
  }

  function softmax(tensor) {  // over the last axis
    const length = tensor.shape[tensor.shape.length - 1], data = Float64Array.from(tensor.data);
    for (let start = 0; start < data.length; start += length) {
      const row = data.subarray(start, start + length), most = Math.max(...row);
      let sum = 0;
      for (let place = 0; place < length; place++) sum += (row[place] = Math.exp(row[place] - most));
      for (let place = 0; place < length; place++) row[place] /= sum;
    }
    return { shape: tensor.shape, data };
  }

  function slice(tensor, starts, ends, axes, steps) {
    const shape = [...tensor.shape], own = stridesOf(shape), strides = [...own];
    let from = 0;
    [...starts.data].forEach((start, number) => {
      const axis = positive(axes ? axes.data[number] : number, shape.length), step = steps ? steps.data[number] : 1;
      const size = shape[axis], [least, most] = step < 0 ? [-1, size - 1] : [0, size];
      const within = (value) => Math.min(most, Math.max(least, value < 0 ? value + size : value));
      const first = within(start), last = within(ends.data[number]);
      from += first * own[axis];
      strides[axis] = step * own[axis];
      shape[axis] = Math.max(0, Math.ceil((last - first) / step));
    });
    return rearranged(tensor, shape, strides, from);
  }

  // Multiplies each map by the factor of its channel and adds that channel's shift, in place.
  function scaled(data, channels, places, factor, shift) {
    for (let map = 0; map * places < data.length; map++) {
      const times = factor(map % channels), plus = shift(map % channels);
      for (let place = map * places; place < (map + 1) * places; place++) data[place] = data[place] * times + plus;
    }
  }

  function normalize(node, maps, scale, bias, average, variance) {
    const [, channels, ...rest] = maps.shape, data = maps.data.slice();
    const factors = scale.data.map((one, channel) => one / Math.sqrt(variance.data[channel] + node.epsilon));
    scaled(data, channels, sizeOf(rest), (channel) => factors[channel], (channel) => bias.data[channel] - average.data[channel] * factors[channel]);
    return { shape: maps.shape, data };
  }

  const limit = (tensor, least, most) =>
    each(tensor, (value) => Math.min(most ? most.data[0] : Infinity, Math.max(least ? least.data[0] : -Infinity, value)));

  const OPERATORS = {
    Add: (_, one, other) => elementwise(one, other, (a, b) => a + b),
    BatchNormalization: normalize,
    Cast: (_, one) => one,  // between kinds of floating-point numbers, and from bytes
    Clip: (_, one, least, most) => limit(one, least, most),
    Concat: concatenate,
    Conv: convolve,
    Div: (_, one, other) => elementwise(one, other, (a, b) => a / b),
    Gemm: gemm,
    MatMul: (_, one, other) => matMul(one, other),
    Max: (_, one, other) => elementwise(one, other, Math.max),
    MaxPool: maxPool,
    Mul: (_, one, other) => elementwise(one, other, (a, b) => a * b),
    ReduceMax: (node, one, axes) => reduce(node, one, axes, -Infinity, Math.max),
    ReduceMean: mean,
    ReduceMin: (node, one, axes) => reduce(node, one, axes, Infinity, Math.min),
    ReduceSum: (node, one, axes) => reduce(node, one, axes, 0, (a, b) => a + b),
    Relu: (_, one) => each(one, (value) => (value > 0 ? value : 0)),
    Reshape: (_, one, shape) => reshape(one, shape),
    Slice: (_, ...inputs) => slice(...inputs),
    Softmax: (_, one) => softmax(one),
    Sub: (_, one, other) => elementwise(one, other, (a, b) => a - b),
    Transpose: (node, one) => {
      const own = stridesOf(one.shape);
      return rearranged(one, node.perm.map((axis) => one.shape[axis]), node.perm.map((axis) => own[axis]), 0);
    },
    Unsqueeze: (_, one, axes) => unsqueeze(one, axes),
  };

  // Numbers are stored as float32; or, with a step, as its multiples in 16 bits.
  function stored({ shape, step, offset }, content) {
    const data = new Float64Array(sizeOf(shape)), view = new DataView(content.buffer, content.byteOffset);
    for (let place = 0; place < data.length; place++)
      data[place] = step ? step * view.getInt16(offset + 2 * place, true) : view.getFloat32(offset + 4 * place, true);
    return { shape, data };
  }

  class Network {
    // graph: nodes in order, tensors by name, outputs; content: the bytes of the weights.
    constructor(graph, content) {
      this.constants = new Map();
      for (const [name, one] of Object.entries(graph.tensors))
        this.constants.set(name, one.values ? { shape: one.shape, data: one.values } : stored(one, content));
      this.nodes = [];
      for (const node of graph.nodes) {  // what follows from the weights alone is computed once
        if (node.inputs.every((name) => !name || this.constants.has(name))) this.constants.set(node.output, this.compute(node, this.constants));
        else this.nodes.push(node);
      }
    }

    compute(node, values) {
      return OPERATORS[node.operator](node, ...node.inputs.map((name) => (name ? values.get(name) : undefined)));
    }

    // images: bytes of the shape (count, channels, height, width). Returns the data of each output by its name.
    run(images, shape, outputs) {
      const values = new Map(this.constants).set("images", { shape, data: Float64Array.from(images) });
      for (const node of this.leadingTo(outputs)) values.set(node.output, this.compute(node, values));
      return Object.fromEntries(outputs.map((name) => [name, values.get(name).data]));
    }

    leadingTo(outputs) {
      const needed = new Set(outputs);
      return [...this.nodes].reverse().filter((node) => {
        if (needed.has(node.output)) node.inputs.forEach((name) => needed.add(name));
        return needed.has(node.output);
      }).reverse();
    }
  }
  return Network;
})();
