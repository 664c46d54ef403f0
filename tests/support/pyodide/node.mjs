// Node and Deno: a JSON object a line on stdin, one on stdout. The first is {wheels, behaviours}, the rest are requests.

import fs from "node:fs";
import process from "node:process";
import readline from "node:readline";
import { loadPyodide } from "pyodide";

import { call, start } from "./host.mjs";

const answer = (value) => fs.writeSync(1, JSON.stringify(value) + "\n");

let py;
for await (const line of readline.createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  if (py) {
    answer(await call(py, request));
  } else {
    const wheels = request.wheels.map((path) => new Uint8Array(fs.readFileSync(path)));
    py = await start(loadPyodide, wheels, fs.readFileSync(request.behaviours, "utf8"));
    answer({ python: py.runPython("import sys; sys.version") });
  }
}
process.exit(0);
