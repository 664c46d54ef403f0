// One place in a browser, a page or a worker, with Pyodide in it.
// Args: hasPromising: whether Pyodide finds JavaScript Promise Integration. No flag of a browser takes it away.

import { call, start } from "./host.mjs";

export async function connect({ base, hasPromising }) {
  if (!hasPromising) {
    delete WebAssembly.Suspending;
    delete WebAssembly.promising;
  }
  const { loadPyodide } = await import(`${base}pyodide/pyodide.mjs`);
  const load = async (name) => (await fetch(base + name)).arrayBuffer();
  const wheel = new Uint8Array(await load("wheel.whl"));
  const modules = JSON.parse(new TextDecoder().decode(await load("modules.json")));
  const py = await start(loadPyodide, [wheel], modules, { indexURL: `${base}pyodide/` });
  return (request) => call(py, request);
}
