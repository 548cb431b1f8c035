const { useSandbox } = require("jwe-gateway-sandbox");

const sandbox = useSandbox(globalThis);

test("the sandbox publishes a key", async () => {
  const { keys } = await (await fetch(sandbox.jwks_url)).json();
  expect(keys).toHaveLength(1);
  expect(await sandbox.received()).toEqual([]);
});

test("a rotation with an overlap keeps the older key", async () => {
  const kid = await sandbox.rotate({ hard: false });
  const { keys } = await (await fetch(sandbox.jwks_url)).json();
  expect(keys.map((key) => key.kid)).toContain(kid);
  expect(keys).toHaveLength(2);
});
