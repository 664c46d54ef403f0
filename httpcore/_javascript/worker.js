// The helper thread of blocking code that cannot wait for promises: it fetches, and hands over through shared memory,
// on which the other side waits. See worker.py, which has the other half of the protocol.
//
// The body of a request comes in memory of its own, whole or a part at a time.
// Memory: Int32 [state, length, taken, unused], then bytes. A state is what the bytes are; MORE says that they go on.
// This side writes where the state is EMPTY, and the other sets it to EMPTY when it has taken the bytes. `store` and
// `notify` are two steps, so that a late `notify` may wake a later wait: both sides look again in a loop.

// Firefox forgets the abort of a fetch in a worker where it follows the head at once, see promise.py.
const TOO_EARLY_MS = globalThis.process ? 0 : 100;
const EMPTY = 0, HEAD = 1, PART = 2, END = 3, ERROR = 4, WANTED = 5, MORE = 16;

const calls = new Map();

class Call {
  constructor({ memory, url, init, content, part }) {
    this.state = new Int32Array(memory, 0, 4);
    this.bytes = new Uint8Array(memory, 16);
    this.controller = new AbortController(); // of our own part, which ends at once
    this.fetching = new AbortController();
    this.mayAbortAt = 0;
    this.url = url;
    this.init = { ...init, signal: this.fetching.signal };
    this.turn = Promise.resolve();
    if (content) this.init.body = copy(content); // fetch takes no shared memory
    if (part) {
      this.part = part;
      this.init.body = new ReadableStream({ pull: (sink) => this.pull(sink) }, { highWaterMark: 0 });
      this.init.duplex = "half";
    }
    Atomics.store(this.state, 2, 1);
  }

  async run() {
    try {
      const response = await fetch(this.url, this.init);
      this.mayAbortAt = performance.now() + TOO_EARLY_MS;
      const { status, statusText, url, redirected, type, headers } = response;
      await this.put(HEAD, encode({ status, statusText, url, redirected, type, fields: Array.from(headers) }));
      const reader = response.body?.getReader();
      for (let part; reader && !(part = await reader.read()).done; ) {
        if (part.value.length) await this.put(PART, part.value);
      }
      await this.put(END, new Uint8Array(0));
    } catch (error) {
      const { name = "", message = String(error), cause } = error ?? {};
      await this.put(ERROR, encode({ name, message, code: cause?.code ?? "", detail: cause?.message ?? "" }));
    }
  }

  // The body is asked for while the response may be handed over already, so they take turns.
  put(kind, bytes) {
    return (this.turn = this.turn.then(() => this.write(kind, bytes)));
  }

  async write(kind, bytes) {
    for (let start = 0, rest = bytes.length; !this.controller.signal.aborted; ) {
      const piece = bytes.subarray(start, start + this.bytes.length);
      this.bytes.set(piece);
      this.state[1] = piece.length;
      start += piece.length;
      rest -= piece.length;
      const state = rest ? kind | MORE : kind;
      Atomics.store(this.state, 0, state);
      Atomics.notify(this.state, 0);
      while (Atomics.load(this.state, 0) === state && !this.controller.signal.aborted) {
        const waiting = Atomics.waitAsync(this.state, 0, state);
        if (waiting.async) await waiting.value;
      }
      if (!rest) return;
    }
  }

  async pull(sink) {
    const answer = new Promise((resolve) => (this.answer = resolve));
    await this.put(WANTED, new Uint8Array(0));
    const length = await answer;
    if (length) sink.enqueue(copy(this.part, length));
    else sink.close();
  }

  abort() {
    this.controller.abort();
    setTimeout(() => this.fetching.abort(), this.mayAbortAt - performance.now());
    Atomics.store(this.state, 0, EMPTY);
    Atomics.notify(this.state, 0);
  }
}

function copy(memory, length) {
  return new Uint8Array(memory, 0, length).slice();
}

function encode(value) {
  return new TextEncoder().encode(JSON.stringify(value));
}

const ACTIONS = {
  hello: ({ memory }) => Atomics.store(new Int32Array(memory), 0, 1),
  start(message) {
    const call = new Call(message);
    calls.set(message.id, call);
    call.run().finally(() => calls.delete(message.id));
  },
  body: ({ id, length }) => calls.get(id)?.answer(length),
  abort: ({ id }) => calls.get(id)?.abort(),
};

const node = globalThis.process?.getBuiltinModule?.("node:worker_threads");
if (node?.parentPort) node.parentPort.on("message", (message) => ACTIONS[message.action](message));
else globalThis.onmessage = ({ data }) => ACTIONS[data.action](data);
