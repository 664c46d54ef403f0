// A visitor of the live page, or of the page of the documentation that has it inside: click.mjs CHROMIUM URL [SCREENSHOT]
// prints what each example prints in each place, as JSON, and writes a picture where it is asked for one.

import process from "node:process";
import { chromium } from "playwright-core";

const [, , executablePath, url, screenshot] = process.argv;
const browser = await chromium.launch({ executablePath, args: ["--disable-gpu", "--disable-quic"] });
const visited = await browser.newPage({ viewport: { width: 850, height: 720 } });
const errors = [];
visited.on("pageerror", (error) => errors.push(error.message));
await visited.goto(url);
const frame = await visited.$("iframe[src^=live]");
const page = frame ? await frame.contentFrame() : visited;
await page.waitForSelector("#run");
const outputs = {};
for (const place of ["worker", "page"]) {
  await page.selectOption("#place", place);
  for (const example of ["async", "blocking", "a timeout"]) {
    await page.selectOption("#example", example);
    await page.click("#run", { timeout: 100_000 });
    await page.waitForFunction(() => document.getElementById("state").textContent === "done", null, { timeout: 100_000 });
    outputs[`${example} in ${place}`] = await page.textContent("#output");
    if (screenshot && example === "async" && place === "worker") await visited.screenshot({ path: screenshot });
  }
}
const isolated = await page.evaluate(() => globalThis.crossOriginIsolated);
await page.fill("#program", "print(1 +)");
await page.click("#run");
await page.waitForFunction(() => document.getElementById("output").textContent.includes("SyntaxError"), null, {
  timeout: 100_000,
});
await browser.close();
console.log(JSON.stringify({ outputs, errors, isolated }));
