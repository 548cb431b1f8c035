export interface Options {
  /** The path of `jwe-gateway`. Default: see {@link findBinary}. */
  binary?: string;
  /** Further arguments of `jwe-gateway sandbox`, such as `["--seed", "7"]`. */
  args?: string[];
  /** Milliseconds until the sandbox must be ready. Default: 30000. */
  timeout?: number;
}

/** A recorded call. `docs/sandbox-reference.md` lists the members. */
export interface Received {
  number: number;
  method: string;
  target: string;
  status: number;
  kid: string | null;
  unopened: string | null;
  [member: string]: unknown;
}

/** A running sandbox. It has the members of the line that `jwe-gateway sandbox --json` prints. */
export class Sandbox {
  /** The base URL of the simulated provider. */
  readonly provider: string;
  /** The base URL of the management interface. */
  readonly management: string;
  readonly token_url: string;
  readonly jwks_url: string;
  readonly client_id: string;
  readonly client_secret: string;
  readonly credentials_tokens: string[];
  readonly link_codes: string[];
  readonly seed: number;
  readonly [member: string]: unknown;

  constructor(options?: Options);
  /** Runs the sandbox on free ports of 127.0.0.1, and waits until it serves. */
  start(): Promise<this>;
  /** Ends the process, and waits for its end. */
  stop(): Promise<void>;
  /** Calls the management interface and returns its JSON. `docs/sandbox-reference.md` lists the operations. */
  manage(method: string, path: string, body?: unknown): Promise<any>;
  /** Returns the recorded calls with a number above `after`. If there is none, waits up to `waitMs` for one. */
  received(options?: { after?: number; waitMs?: number }): Promise<Received[]>;
  /** Returns whether the client seals as the provider needs it: `verdict` is `passed`, `failed` or `no requests`. */
  verdict(): Promise<any>;
  /** Publishes a new key and returns its kid. If `hard` is true (the default), the older keys are removed at once. */
  rotate(options?: { hard?: boolean }): Promise<string>;
  /** Makes all tokens invalid that were issued so far. */
  revokeTokens(): Promise<void>;
  /** Arms a fault such as `{ token: "server_error" }` for the next `times` requests, or until it is disarmed. */
  arm(fault: unknown, times?: number): Promise<void>;
  /** Disarms all faults. */
  disarm(): Promise<void>;
  /** Restores the data, disarms all faults and forgets the recorded calls. The keys stay. */
  reset(): Promise<void>;
  /** Returns all data of the sandbox. Change it and give it to {@link Sandbox.setWorld}. */
  world(): Promise<any>;
  /** Replaces all data of the sandbox. */
  setWorld(world: unknown): Promise<void>;
}

/** Starts a sandbox. Call `stop()` at the end. */
export function startSandbox(options?: Options): Promise<Sandbox>;

/** The hooks of vitest and jest, or of node:test. */
export type Runner =
  | { beforeAll(hook: () => Promise<unknown>): unknown; beforeEach(hook: () => Promise<unknown>): unknown; afterAll(hook: () => Promise<unknown>): unknown }
  | { before(hook: () => Promise<unknown>): unknown; beforeEach(hook: () => Promise<unknown>): unknown; after(hook: () => Promise<unknown>): unknown };

/** Starts a sandbox before all tests of a file, resets it before each, and stops it after all. Its members are set in tests. */
export function useSandbox(runner: Runner, options?: Options): Sandbox;

/** `JWE_GATEWAY_BIN` if it is set, otherwise the binary of the installed platform package, otherwise the one in `PATH`. */
export function findBinary(): string;
