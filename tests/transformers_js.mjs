// Name the emotions in texts with transformers.js, from a model on the Hub: `make node` installs it.
//
//     node tests/transformers_js.mjs user/emotions q8 "so happy today" "oh no"
//
// The type is q8 (onnx/model_quantized.onnx) or fp32 (onnx/model.onnx). Prints, as JSON, one object of label → score
// for each text. HF_ENDPOINT names another Hub. Nothing is kept from one call to the next.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { env, pipeline } from "@huggingface/transformers";

env.allowLocalModels = false;
env.remoteHost = `${process.env.HF_ENDPOINT ?? "https://huggingface.co"}/`;
env.cacheDir = mkdtempSync(join(tmpdir(), "transformers_js."));
process.on("exit", () => rmSync(env.cacheDir, { recursive: true }));

const [model, dtype, ...texts] = process.argv.slice(2);
const classifier = await pipeline("text-classification", model, { dtype });
const answers = await classifier(texts, { top_k: null });
const scores = answers.map((answer) => Object.fromEntries(answer.map(({ label, score }) => [label, score])));
console.log(JSON.stringify(scores));
