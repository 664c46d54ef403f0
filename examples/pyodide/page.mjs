// The page: a program, a place to run it in, and what it prints.

import { runProgram, startPython } from "./python.mjs";

const EXAMPLES = {
  "async": `import httpcore

async with httpcore.ConnectionPool() as http:
    response = await http.request("GET", f"{origin}/hello")
    print(response.status_code, response.body.decode())
    print(response.headers.get("content-type"), response.extensions["fetch"])

    async with await http.request("GET", f"{origin}/drip", stream=True) as response:
        async for part in response.stream():
            print(part.decode().strip())
`,
  "blocking": `import httpcore

with httpcore.SyncConnectionPool() as http:
    response = http.request("GET", f"{origin}/hello")
    print(response.status_code, response.body.decode())
    print("sent by", response.extensions["fetch"].sent_by)
`,
  "a timeout": `import httpcore, time

async with httpcore.ConnectionPool(timeout=0.5) as http:
    start = time.monotonic()
    try:
        response = await http.request("GET", f"{origin}/never")
    except httpcore.ReadTimeout as exc:
        print(f"{time.monotonic() - start:.1f} s: {exc}")
    else:
        print(response.status_code, "- scripts/docs serve has a server that does not answer")
`,
};

const base = new URL("./", import.meta.url).href;
const [example, place, run, state, program, output] = ["example", "place", "run", "state", "program", "output"].map(
  (id) => document.getElementById(id),
);
const show = (text) => (output.textContent += `${text}\n`);

const worker = new Worker(`${base}worker.mjs`, { type: "module" });
const workerIsReady = new Promise((resolve, reject) => {
  worker.onerror = (event) => reject(new Error(event.message));
  worker.onmessage = ({ data }) => {
    if (data.ready) resolve();
    else if (data.failed) reject(new Error(data.failed));
    else if (data.done) workerIsDone();
    else show(data.text);
  };
});
let workerIsDone;
let page;

const PLACES = {
  async worker(text) {
    await workerIsReady;
    const done = new Promise((resolve) => (workerIsDone = resolve));
    worker.postMessage({ program: text });
    await done;
  },
  async page(text) {
    page ??= startPython(base);
    await runProgram(await page, text, base, show);
  },
};

async function runIt() {
  run.disabled = true;
  output.textContent = "";
  state.textContent = "running";
  await PLACES[place.value](program.value);
  state.textContent = "done";
  run.disabled = false;
}

for (const name of Object.keys(EXAMPLES)) example.add(new Option(name));
example.onchange = () => (program.value = EXAMPLES[example.value]);
example.onchange();
run.onclick = runIt;
document.body.classList.toggle("embedded", self !== top);
try {
  await workerIsReady;
  state.textContent = crossOriginIsolated ? "ready, isolated" : "ready";
  run.disabled = false;
} catch (error) {
  state.textContent = `Python could not be loaded: ${error.message}`;
}
