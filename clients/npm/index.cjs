"use strict";
// A local Flanks for tests: runs `jwe-gateway sandbox`. CommonJS, because jest cannot `require` an ES module; index.mjs
// makes it one for the others. The types and the description of each function are in index.d.ts.
const { spawn } = require("node:child_process");
const { once } = require("node:events");
const { createInterface } = require("node:readline");

const START_TIMEOUT_MS = 30_000;

class Sandbox {
  #process;
  #options;

  constructor(options = {}) {
    this.#options = options;
  }

  async start() {
    const { binary = findBinary(), args = [], timeout = START_TIMEOUT_MS } = this.#options;
    const addresses = ["--listen", "127.0.0.1:0", "--management", "127.0.0.1:0"];
    const child = spawn(binary, ["sandbox", "--json", ...addresses, ...args], { stdio: ["ignore", "pipe", "inherit"] });
    this.#process = child;
    // A forgotten stop() must neither keep this process alive nor leave the other one behind.
    child.unref();
    child.stdout.unref();
    const kill = () => child.kill();
    process.once("exit", kill);
    child.once("exit", () => process.off("exit", kill));
    const lines = createInterface({ input: child.stdout });
    const failed = once(child, "exit").then(
      ([code, signal]) => {
        throw new Error(`jwe-gateway sandbox ended with ${code ?? signal} and was not ready; see its stderr`);
      },
      (error) => {
        throw new Error(`${binary} cannot be started: set JWE_GATEWAY_BIN to the path of jwe-gateway`, { cause: error });
      },
    );
    const timer = setTimeout(() => child.kill("SIGKILL"), timeout);
    try {
      const [line] = await Promise.race([once(lines, "line"), failed]);
      // The pipe is read to its end, so that the sandbox never waits for a reader.
      lines.on("line", () => {});
      return Object.assign(this, JSON.parse(line));
    } finally {
      clearTimeout(timer);
      failed.catch(() => {});
    }
  }

  async stop() {
    const child = this.#process;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    child.ref();
    child.kill();
    await once(child, "exit");
  }

  async manage(method, path, body) {
    const response = await fetch(this.management + path, { method, body: JSON.stringify(body) });
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${await response.text()}`);
    return response.json();
  }

  async received({ after = 0, waitMs = 0 } = {}) {
    const page = await this.manage("GET", `/received?after=${after}&wait=${Math.round(waitMs)}ms`);
    return page.more ? page.requests.concat(await this.received({ after: page.next_after })) : page.requests;
  }

  verdict() {
    return this.manage("GET", "/verdict");
  }

  async rotate({ hard = true } = {}) {
    return (await this.manage("POST", `/rotate?overlap=${!hard}`)).kid;
  }

  async revokeTokens() {
    await this.manage("POST", "/revoke-tokens");
  }

  async arm(fault, times) {
    await this.manage("POST", "/faults", { fault, times });
  }

  async disarm() {
    await this.manage("DELETE", "/faults");
  }

  async reset() {
    await this.manage("POST", "/reset");
  }

  world() {
    return this.manage("GET", "/world");
  }

  async setWorld(world) {
    await this.manage("PUT", "/world", world);
  }
}

function findBinary() {
  if (process.env.JWE_GATEWAY_BIN) return process.env.JWE_GATEWAY_BIN;
  try {
    return require.resolve(`jwe-gateway-${process.platform}-${process.arch}/bin/jwe-gateway`);
  } catch {
    return "jwe-gateway";
  }
}

function startSandbox(options) {
  return new Sandbox(options).start();
}

function useSandbox(runner, options) {
  const sandbox = new Sandbox(options);
  (runner.beforeAll ?? runner.before)(() => sandbox.start());
  runner.beforeEach(() => sandbox.reset());
  (runner.afterAll ?? runner.after)(() => sandbox.stop());
  return sandbox;
}

exports.Sandbox = Sandbox;
exports.findBinary = findBinary;
exports.startSandbox = startSandbox;
exports.useSandbox = useSandbox;
