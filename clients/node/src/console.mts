export * from "./console.js";
