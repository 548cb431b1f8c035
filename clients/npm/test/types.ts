// Compiled by tsc, not run.
import { startSandbox, useSandbox, type Received, type Sandbox } from "jwe-gateway-sandbox";

export async function use(): Promise<string> {
  const sandbox: Sandbox = await startSandbox({ args: ["--seed", "7"], timeout: 1000 });
  const calls: Received[] = await sandbox.received({ after: 1, waitMs: 10 });
  await sandbox.arm({ token: "server_error" }, 2);
  const kid: string = await sandbox.rotate({ hard: false });
  // @ts-expect-error: the address is text
  const wrong: number = sandbox.provider;
  return `${kid} ${calls.length} ${wrong} ${sandbox.client_secret}`;
}

export function hooks(runner: { beforeAll(hook: () => Promise<unknown>): void; beforeEach(hook: () => Promise<unknown>): void; afterAll(hook: () => Promise<unknown>): void }) {
  return useSandbox(runner).token_url;
}
