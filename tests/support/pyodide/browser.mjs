// browser.mjs NAME PROGRAM, for Chromium or Firefox: the same lines of JSON as node.mjs. A request names a place: "main" (the main thread of a page), "worker",
// "isolated" (a worker of a page that is cross-origin isolated), "secure" (the main thread of a page that came by https), or "csp" (of one that may connect to its
// own origin alone). Each place starts when it is first named. A request may want the browser to be offline.

import fs from "node:fs";
import http from "node:http";
import https from "node:https";
import path from "node:path";
import process from "node:process";
import readline from "node:readline";
import { chromium } from "playwright-core";
import puppeteer from "puppeteer-core";

const FOLDER = import.meta.dirname ?? path.dirname(new URL(import.meta.url).pathname);
const TYPES = { ".html": "text/html", ".mjs": "text/javascript", ".wasm": "application/wasm", ".json": "application/json" };
const ISOLATION = {
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Embedder-Policy": "require-corp",
  "Cross-Origin-Resource-Policy": "same-origin",
};
const HEADERS = { isolated: ISOLATION, csp: { "Content-Security-Policy": "connect-src 'self'" } };
const PAGE = "<!doctype html><title>httpcore</title>";

let given;

// Everything below /isolated/ and /csp/ is as it is without it, but for the headers.
function serve(request, response) {
  const [, kind, name] = /^(?:\/(isolated|csp))?(\/[^?]*)/.exec(request.url);
  const headers = { "Content-Type": TYPES[path.extname(name)] ?? "application/octet-stream", ...HEADERS[kind] };
  if (name === "/modules.json") return response.writeHead(200, headers).end(JSON.stringify(given.modules));
  if (name === "/page.html") return response.writeHead(200, headers).end(PAGE);
  const file = name === "/wheel.whl" ? given.wheels[0] : path.join(FOLDER, name.startsWith("/pyodide/") ? `node_modules${name}` : name);
  fs.readFile(file, (error, data) => response.writeHead(error ? 404 : 200, headers).end(data));
}

// Playwright drives no Firefox but its own, and puppeteer does, by WebDriver BiDi.
const LAUNCH = {
  chromium: (executablePath) => {
    const trust = `--ignore-certificate-errors-spki-list=${given.key}`;
    return chromium.launch({ executablePath, args: ["--disable-gpu", "--disable-quic", trust] });
  },
  firefox: (executablePath) =>
    puppeteer.launch({ browser: "firefox", executablePath, headless: true, acceptInsecureCerts: true }),
};
const places = new Map();

async function open(browser, origin, place) {
  const [kind, off] = place.split("-");
  const page = await browser.newPage();
  page.on("pageerror", (error) => console.error(error.message));
  await page.goto(`${kind === "secure" ? secure : origin}${kind in HEADERS ? `/${kind}` : ""}/page.html`);
  await page.evaluate(async ({ inWorker, hasPromising }) => {
    const base = new URL("./", location.href).href;
    if (!inWorker) {
      const { connect } = await import(`${base}place.mjs`);
      globalThis.call = await connect({ base, hasPromising });
      return;
    }
    const worker = new Worker(`${base}worker.mjs`, { type: "module" });
    const ask = (message) =>
      new Promise((resolve, reject) => {
        worker.onmessage = ({ data }) => resolve(data);
        worker.onerror = (event) => reject(new Error(event.message));
        worker.postMessage(message);
      });
    await ask({ base, hasPromising });
    globalThis.call = ask;
  }, { inWorker: kind === "worker" || kind === "isolated", hasPromising: !off });
  return page;
}

async function listen(server) {
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return server.address().port;
}

const setOffline = (page, isOffline) =>
  page.setOfflineMode ? page.setOfflineMode(isOffline) : page.context().setOffline(isOffline);

const answer = (value) => fs.writeSync(1, JSON.stringify(value) + "\n");

// Whoever asked is gone, perhaps in the middle of an answer.
process.stdin.once("end", () => setTimeout(() => process.exit(1), 8_000).unref());

let browser, origin, secure;
for await (const line of readline.createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  try {
    if (!browser) {
      given = request;
      const tls = { cert: fs.readFileSync(given.certificate[0]), key: fs.readFileSync(given.certificate[1]) };
      origin = `http://127.0.0.1:${await listen(http.createServer(serve))}`;
      secure = `https://localhost:${await listen(https.createServer(tls, serve))}`;
      const [, , name, executablePath] = process.argv;
      browser = await LAUNCH[name](executablePath);
      answer({ version: await browser.version() });
      continue;
    }
    const { place } = request;
    if (!places.has(place)) places.set(place, await open(browser, origin, place));
    const page = places.get(place);
    if (request.offline) await setOffline(page, true);
    answer(await page.evaluate((given) => globalThis.call(given), request));
    if (request.offline) await setOffline(page, false);
  } catch (error) {
    answer({ error: error.message });
  }
}
await browser?.close();
process.exit(0);
