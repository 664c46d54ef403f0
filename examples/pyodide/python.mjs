// Python with httpcore in it, in a page or in a worker.

export async function startPython(base) {
  const { loadPyodide } = await import(`${base}pyodide/pyodide.mjs`);
  const py = await loadPyodide({ indexURL: `${base}pyodide/` });
  const wheel = new Uint8Array(await (await fetch(`${base}httpcore.whl`)).arrayBuffer());
  py.unpackArchive(wheel, "wheel", { extractDir: py.runPython("import site; site.getsitepackages()[0]") });
  return py;
}

// Entered by runPythonAsync, blocking code can wait where the browser has JavaScript Promise Integration.
export async function runProgram(py, program, base, show) {
  py.setStdout({ batched: show });
  py.setStderr({ batched: show });
  const globals = py.toPy({ origin: base.replace(/\/$/, "") });
  try {
    await py.runPythonAsync(program, { globals });
  } catch (error) {
    show(error.message);
  } finally {
    globals.destroy();
  }
}
