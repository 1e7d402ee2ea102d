export * from "./pino.js";
import pino from "./pino.js";
/** pino's transport; CommonJS gives it under `default`. */
export default pino.default;
