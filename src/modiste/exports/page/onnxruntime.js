// Computes an exported network by ONNX Runtime for browsers, whose files lie in this page. Its interface is that of network.js.
"use strict";

class Network {
  // content: the ONNX file, compressed by gzip.
  constructor(_graph, content) {
    this.session = Network.started(content);
    this.session.catch(() => {});  // the first picture says what is wrong
  }

  static async started(content) {
    const program = await Network.inflated(Network.bytesOf("program"));
    ort.env.wasm.numThreads = 1;  // a page from a disk may not share memory between threads
    ort.env.wasm.wasmPaths = { mjs: Network.urlOf(Network.bytesOf("glue"), "text/javascript"), wasm: Network.urlOf(program, "application/wasm") };
    return ort.InferenceSession.create(await Network.inflated(content), { executionProviders: ["wasm"] });
  }

  static urlOf(content, type) {
    return URL.createObjectURL(new Blob([content], { type }));
  }

  static bytesOf(id) {
    return Uint8Array.from(atob(document.getElementById(id).textContent.trim()), (one) => one.charCodeAt(0));
  }

  static async inflated(content) {
    const stream = new Blob([content]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }

  // images: bytes of the shape (count, channels, height, width). Returns the data of each output by its name.
  async run(images, shape, outputs) {
    const session = await this.session;
    const found = await session.run({ images: new ort.Tensor("uint8", Uint8Array.from(images), shape) }, outputs);
    return Object.fromEntries(outputs.map((name) => [name, found[name].data]));
  }
}
