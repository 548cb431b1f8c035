import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { useSandbox } from "jwe-gateway-sandbox";
import { Client } from "./client.mjs";

const sandbox = useSandbox({ afterAll, beforeAll, beforeEach });

test("a client that seals passes", async () => {
  expect(await new Client(sandbox).status("sandbox-credentials-1")).toBe(200);
  expect(await sandbox.received()).toHaveLength(1);
  expect(await sandbox.verdict()).toMatchObject({ verdict: "passed" });
});

test("the next test finds no calls", async () => {
  expect(await sandbox.received()).toEqual([]);
});
