// The network's thread. The page begins it before anything else.
export const engine = new Worker(new URL("network.js", import.meta.url), { type: "module" });
