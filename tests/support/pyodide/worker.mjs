// A module worker with Pyodide in it: the first message is for `connect`, the rest are requests.

import { connect } from "./place.mjs";

let answer;
globalThis.onmessage = async ({ data }) => {
  if (answer) return globalThis.postMessage(await answer(data));
  answer = await connect(data);
  globalThis.postMessage({});
};
