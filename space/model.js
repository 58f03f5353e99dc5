// The model in the browser: transformers.js by version and hash, the model's files from the Hub by revision.

// Every byte of code that comes from elsewhere, with its digest: transformers.js, and the two files of ONNX Runtime that
// it would fetch unchecked. `tests/publishing/test_space.py` holds them against the packages of `make node`.
export const RUNTIME = {
  transformers: {
    path: "@huggingface/transformers@4.3.1/dist/transformers.min.js",
    integrity: "sha384-AFNtlNOt2vbygtlRCUX2TDgkE+EyonjbCLxAfqezYwJJDVlozUhg+yKs4cPwyjHR",
  },
  factory: {
    path: "onnxruntime-web@1.31.0-dev.20260914-8d85527a0/dist/ort-wasm-simd-threaded.mjs",
    integrity: "sha384-rwgdUeIyqfd2lxMuhdqXYPnZiluDqSM5liz/q+ulIt4vYtB52NCoTVWBkm1KFOeN",
  },
  wasm: {
    path: "onnxruntime-web@1.31.0-dev.20260914-8d85527a0/dist/ort-wasm-simd-threaded.wasm",
    integrity: "sha384-LrOPe1yNsLVzhsriuQfxO06RWx/XakR0S8uiOMx7HVJP6N/IEaR1EAgJMFeTanif",
  },
};
const BATCH = 8;

/** An error whose message is a sentence for the reader. */
export class Unavailable extends Error {}

/**
 * Load the model that config.json names.
 * @param {object} config the page's config.json
 * @param {(bytes: number) => void} progress called with the bytes of the model that have arrived
 * @returns {Promise<(texts: string[]) => Promise<Float32Array[]>>} texts → one score in [0, 1] per label and text; its
 *   `isCut(text)` says whether a text is longer than the model reads
 */
export async function load(config, progress) {
  if (typeof WebAssembly !== "object") throw new Unavailable("This browser has no WebAssembly, which the model needs.");
  const [code, factory, wasm] = await Promise.all(Object.values(RUNTIME).map((file) => checked(config.code, file)));
  const { env, AutoTokenizer, AutoModelForSequenceClassification } = await import(module(code));
  env.allowLocalModels = false;
  env.remoteHost = config.host;
  // Not "{revision}": transformers.js looks for a tokenizer's files on the main branch, whichever one it is told.
  env.remotePathTemplate = `{model}/resolve/${config.revision}/`;
  env.useWasmCache = false;
  env.useBrowserCache = typeof caches !== "undefined";
  Object.assign(env.backends.onnx.wasm, {
    numThreads: 1,
    wasmBinary: wasm,
    wasmPaths: { mjs: module(factory), wasm: "" },
  });
  const arrived = {};
  const options = {
    revision: config.revision,
    dtype: config.dtype,
    device: "wasm",
    progress_callback: ({ file, loaded }) => {
      if (!loaded) return;
      arrived[file] = loaded;
      progress(Object.values(arrived).reduce((a, b) => a + b, 0));
    },
  };
  let tokenizer, model;
  try {
    [tokenizer, model] = await Promise.all([
      AutoTokenizer.from_pretrained(config.model, options),
      AutoModelForSequenceClassification.from_pretrained(config.model, options),
    ]);
  } catch (error) {
    throw new Unavailable(await reason(config), { cause: error });
  }
  const read = async (texts) => {
    const scores = [];
    for (let start = 0; start < texts.length; start += BATCH) {
      const batch = encode(tokenizer, texts.slice(start, start + BATCH));
      const { logits } = await model(batch);
      const width = config.labels.length;
      for (let row = 0; row < logits.dims[0]; row++) {
        scores.push(logits.data.slice(row * width, (row + 1) * width).map((logit) => 1 / (1 + Math.exp(-logit))));
      }
      await new Promise((resume) => setTimeout(resume)); // let the page answer its reader in between
    }
    return scores;
  };
  read.isCut = (text) => tokenizer.encode(text).length > tokenizer.model_max_length;
  return read;
}

/** Token ids; where transformers.js cuts a long text it loses the closing token, which is put back as Python has it. */
function encode(tokenizer, texts) {
  const batch = tokenizer(texts, { padding: true, truncation: true });
  const around = tokenizer.encode("");
  const width = batch.input_ids.dims[1];
  texts.forEach((text, row) => {
    const isCut = around.length > 1 && tokenizer.encode(text).length > width;
    if (isCut) batch.input_ids.data[(row + 1) * width - 1] = BigInt(around.at(-1));
  });
  return batch;
}

/** What each word adds to each label's score: the text's scores, less those of the text without the word. */
export async function contributions(read, words, scores) {
  const without = await read(words.map((_, left) => words.filter((_, index) => index !== left).join(" ")));
  return without.map((other) => scores.map((score, label) => score - other[label]));
}

/** A file of the program, if it is the one that was tested. */
async function checked(base, { path, integrity }) {
  try {
    const answer = await fetch(new URL(path, new URL(base, location.href)), { integrity });
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    return await answer.arrayBuffer();
  } catch (error) {
    const host = new URL(base, location.href).host;
    throw new Unavailable(
      `The program that runs the model could not be fetched from ${host}, or is not the one that was tested. Is there a ` +
        "connection, and does a blocker stop it?",
      { cause: error },
    );
  }
}

const module = (bytes) => URL.createObjectURL(new Blob([bytes], { type: "text/javascript" }));

async function reason({ host, model, revision }) {
  const where = `${model} from ${new URL(host).host}`;
  try {
    const { ok, status } = await fetch(`${host}${model}/resolve/${revision}/config.json`);
    if (status === 401 || status === 403 || status === 404) {
      return `The model ${where} is private, or it is no longer there (HTTP ${status}). This page reads public models only.`;
    }
    return ok
      ? `The model ${where} arrived, but could not be started. A newer browser may help, or closing other tabs.`
      : `The model ${where} could not be fetched (HTTP ${status}). Try again in a few minutes.`;
  } catch {
    return `The model ${where} could not be fetched. Is there a connection, and does a blocker stop it?`;
  }
}
