// Runs with node:test; vitest.test.mjs and jest.test.cjs show the same package in the other two runners.
import assert from "node:assert/strict";
import { after, before, beforeEach, test } from "node:test";
import { Sandbox, findBinary, startSandbox, useSandbox } from "jwe-gateway-sandbox";
import { Client } from "./client.mjs";

const sandbox = useSandbox({ after, before, beforeEach }, { args: ["--seed", "7"] });
let client;
beforeEach(() => {
  client = new Client(sandbox);
});

test("a sealed body is opened and recorded", async () => {
  assert.equal(await client.status("sandbox-credentials-1"), 200);
  const [received] = await sandbox.received({ waitMs: 2000 });
  assert.equal(received.target, "/v0/bank/credentials/status");
  assert.equal(received.kid, client.jwk.kid);
  assert.equal(received.unopened, null);
  assert.equal((await sandbox.verdict()).verdict, "passed");
});

test("a body in clear is refused and spoils the verdict", async () => {
  await client.renewToken();
  assert.equal(await client.post('{"credentials_token":"x"}', "application/json"), 415);
  assert.equal((await sandbox.verdict()).verdict, "failed");
});

test("each test begins with a reset sandbox", async () => {
  assert.deepEqual(await sandbox.received(), []);
  assert.equal(sandbox.seed, 7);
});

test("only later calls are listed", async () => {
  for (let i = 0; i < 3; i++) await client.status("sandbox-credentials-1");
  const [first, ...later] = await sandbox.received();
  assert.deepEqual(await sandbox.received({ after: first.number }), later);
});

test("a client that fetches the key set survives a hard rotation", async () => {
  await client.fetchKey();
  const kid = await sandbox.rotate({ hard: true });
  assert.equal(await client.status("sandbox-credentials-1"), 400);
  await client.fetchKey();
  assert.equal(client.jwk.kid, kid);
  assert.equal(await client.status("sandbox-credentials-1"), 200);
});

test("a revoked token is refused", async () => {
  await client.renewToken();
  await sandbox.revokeTokens();
  assert.equal(await client.status("sandbox-credentials-1"), 401);
});

test("a fault applies until it has applied so often or is disarmed", async () => {
  await sandbox.arm({ token: "server_error" }, 1);
  assert.equal(await client.renewToken(), 500);
  assert.equal(await client.renewToken(), 200);
  await sandbox.arm({ token: "server_error" });
  await sandbox.disarm();
  assert.equal(await client.renewToken(), 200);
});

test("the world can be replaced and is restored by a reset", async () => {
  const world = await sandbox.world();
  await sandbox.setWorld({ ...world, credentials: [] });
  assert.notDeepEqual(await sandbox.world(), world);
  await sandbox.reset();
  assert.deepEqual(await sandbox.world(), world);
});

test("an error of the management interface has its text", async () => {
  await assert.rejects(sandbox.manage("POST", "/retire"), /kid is missing/);
});

test("stop ends the process, and may be called again", async () => {
  const other = await startSandbox();
  await other.stop();
  await other.stop();
  await assert.rejects(other.world());
  await new Sandbox().stop();
});

test("a sandbox that does not start says so", async () => {
  await assert.rejects(startSandbox({ args: ["--no-such-option"] }), /was not ready/);
  await assert.rejects(startSandbox({ binary: "/nowhere/jwe-gateway" }), /JWE_GATEWAY_BIN/);
});

test("JWE_GATEWAY_BIN comes before the package for the platform", () => {
  const set = process.env.JWE_GATEWAY_BIN;
  try {
    process.env.JWE_GATEWAY_BIN = "/elsewhere";
    assert.equal(findBinary(), "/elsewhere");
  } finally {
    if (set === undefined) delete process.env.JWE_GATEWAY_BIN;
    else process.env.JWE_GATEWAY_BIN = set;
  }
});
