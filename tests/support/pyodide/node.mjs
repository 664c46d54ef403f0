// Node and Deno: a JSON object a line on stdin, one on stdout. The first is {wheels, modules, sockets}, the rest are requests.

import fs from "node:fs";
import process from "node:process";
import readline from "node:readline";
import { Worker } from "node:worker_threads";
import { loadPyodide } from "pyodide";

import { call, start } from "./host.mjs";

// What presses Ctrl-C while Python blocks this thread.
const INTERRUPT = `
  const { workerData: { buffer, after } } = require("node:worker_threads");
  setTimeout(() => Atomics.store(buffer, 0, 2), after);
`;

function interrupt(py, after) {
  const buffer = new Int32Array(new SharedArrayBuffer(4));
  py.setInterruptBuffer(buffer);
  return new Worker(INTERRUPT, { eval: true, workerData: { buffer, after } });
}

const answer = (value) => fs.writeSync(1, JSON.stringify(value) + "\n");

let py;
for await (const line of readline.createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  if (py) {
    const interrupter = request.interrupt_after ? interrupt(py, request.interrupt_after) : undefined;
    answer(await call(py, request));
    await interrupter?.terminate();
    py.setInterruptBuffer(undefined);
  } else {
    const wheels = request.wheels.map((path) => new Uint8Array(fs.readFileSync(path)));
    py = await start(loadPyodide, wheels, request.modules);
    if (request.sockets) await py.useNodeSockFS();
    answer({ version: process.versions.deno ?? process.versions.node });
  }
}
process.exit(0);
