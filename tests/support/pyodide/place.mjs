// One place in a browser, a page or a worker, with Pyodide in it.

import { call, start } from "./host.mjs";

export async function connect(base) {
  const { loadPyodide } = await import(`${base}pyodide/pyodide.mjs`);
  const load = async (name) => (await fetch(base + name)).arrayBuffer();
  const wheel = new Uint8Array(await load("wheel.whl"));
  const behaviours = new TextDecoder().decode(await load("behaviours.py"));
  const py = await start(loadPyodide, [wheel], behaviours, { indexURL: `${base}pyodide/` });
  return (request) => call(py, request);
}
