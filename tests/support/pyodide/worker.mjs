// A module worker with Pyodide in it: the first message is {base}, the rest are requests.

import { connect } from "./place.mjs";

let answer;
globalThis.onmessage = async ({ data }) => {
  if (answer) return globalThis.postMessage(await answer(data));
  answer = await connect(data.base);
  globalThis.postMessage({});
};
