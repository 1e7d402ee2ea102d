export * from "./winston.js";
