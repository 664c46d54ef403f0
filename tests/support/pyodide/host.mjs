// What every JavaScript runtime does with a request of the tests: start Pyodide with our wheel in it, and call a body.

export async function start(loadPyodide, wheels, behaviours, options = {}) {
  const say = (text) => console.error(text);
  const py = await loadPyodide({ stdout: say, stderr: say, ...options });
  const folder = py.runPython("import site; site.getsitepackages()[0]");
  for (const wheel of wheels) py.unpackArchive(wheel, "wheel", { extractDir: folder });
  py.FS.writeFile(`${folder}/behaviours.py`, behaviours);
  return py;
}

// How blocking code is entered decides whether it can wait for promises: not by runPython, but by runPythonAsync.
const ENTRIES = {
  async: (py, globals) => py.runPythonAsync("import behaviours; await behaviours.run_async(request)", { globals }),
  blocking: (py, globals) => py.runPython("import behaviours; behaviours.run_blocking(request)", { globals }),
  jspi: (py, globals) => py.runPythonAsync("import behaviours; behaviours.run_blocking(request)", { globals }),
};

export async function call(py, request) {
  const globals = py.toPy({ request: JSON.stringify(request) });
  try {
    return JSON.parse(await ENTRIES[request.world](py, globals));
  } catch (error) {
    return { error: error.message };
  } finally {
    globals.destroy();
  }
}
