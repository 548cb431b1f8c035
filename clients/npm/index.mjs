export { Sandbox, findBinary, startSandbox, useSandbox } from "./index.cjs";
