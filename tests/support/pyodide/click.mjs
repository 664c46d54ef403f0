// A visitor of the live page: click.mjs CHROMIUM URL prints what each example prints in each place, as JSON.

import process from "node:process";
import { chromium } from "playwright-core";

const [, , executablePath, url] = process.argv;
const browser = await chromium.launch({ executablePath, args: ["--disable-gpu", "--disable-quic"] });
const page = await browser.newPage();
const errors = [];
page.on("pageerror", (error) => errors.push(error.message));
await page.goto(url);
const outputs = {};
for (const place of ["worker", "page"]) {
  await page.selectOption("#place", place);
  for (const example of ["async", "blocking", "a timeout"]) {
    await page.selectOption("#example", example);
    await page.click("#run", { timeout: 100_000 });
    await page.waitForFunction(() => document.getElementById("state").textContent === "done", null, { timeout: 100_000 });
    outputs[`${example} in ${place}`] = await page.textContent("#output");
  }
}
await page.fill("#program", "print(1 +)");
await page.click("#run");
await page.waitForFunction(() => document.getElementById("output").textContent.includes("SyntaxError"), null, {
  timeout: 100_000,
});
await browser.close();
console.log(JSON.stringify({ outputs, errors }));
