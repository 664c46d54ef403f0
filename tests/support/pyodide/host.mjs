// What every JavaScript runtime does with a request of the tests: start Pyodide with our wheel in it, and call a body.

// Args: modules: what runs there, file name to text.
export async function start(loadPyodide, wheels, modules, options = {}) {
  const say = (text) => console.error(text);
  const py = await loadPyodide({ stdout: say, stderr: say, ...options });
  const folder = py.runPython("import site; site.getsitepackages()[0]");
  for (const wheel of wheels) py.unpackArchive(wheel, "wheel", { extractDir: folder });
  py.FS.mkdir(`${folder}/under_pyodide`);
  for (const [name, text] of Object.entries(modules)) py.FS.writeFile(`${folder}/under_pyodide/${name}`, text);
  return py;
}

// How blocking code is entered decides whether it can wait for promises: not by runPython, but by runPythonAsync.
const ENTRIES = {
  async: (py, globals) => py.runPythonAsync("from under_pyodide import behaviours; await behaviours.run_async(request)", { globals }),
  blocking: (py, globals) => py.runPython("from under_pyodide import behaviours; behaviours.run_blocking(request)", { globals }),
  jspi: (py, globals) => py.runPythonAsync("from under_pyodide import behaviours; behaviours.run_blocking(request)", { globals }),
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
