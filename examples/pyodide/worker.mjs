// The worker: {base} starts Python, {program} runs one. It answers with {text} for each line, and {done} at the end.

import { runProgram, startPython } from "./python.mjs";

const base = new URL("./", import.meta.url).href;
const starting = startPython(base);
starting.then(
  () => postMessage({ ready: true }),
  (error) => postMessage({ failed: error.message }),
);

globalThis.onmessage = async ({ data }) => {
  await runProgram(await starting, data.program, base, (text) => postMessage({ text }));
  postMessage({ done: true });
};
