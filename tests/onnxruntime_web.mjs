// Run an ONNX file in WebAssembly, as browsers do, with onnxruntime-web: `make node` installs it.
//
//     node tests/onnxruntime_web.mjs model.onnx < batches.json
//
// Reads a list of batches, each of them input name → rows of integers; prints, as JSON, the logits of each batch.
import { readFileSync } from "node:fs";
import * as ort from "onnxruntime-web";

ort.env.wasm.numThreads = 1;
ort.env.logLevel = "error";
const session = await ort.InferenceSession.create(readFileSync(process.argv[2]), { executionProviders: ["wasm"] });
const answers = [];
for (const batch of JSON.parse(readFileSync(0))) {
  const tensor = (rows) => new ort.Tensor("int64", rows.flat().map(BigInt), [rows.length, rows[0].length]);
  const { logits } = await session.run(Object.fromEntries(session.inputNames.map((name) => [name, tensor(batch[name])])));
  answers.push(Array.from(logits.data));
}
console.log(JSON.stringify(answers));
