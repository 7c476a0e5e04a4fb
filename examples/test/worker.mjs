// The Worker under workerd, at an address of its own. Run by scripts/test-examples.sh.

import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import path from "node:path";

const { Miniflare } = createRequire(path.join(process.env.WORKER_TEST_HOME, "x.js"))("miniflare");

const script = await readFile(new URL("../worker/src/index.js", import.meta.url), "utf8");
const workerd = new Miniflare({
  modules: true,
  script,
  bindings: { WEBHOOK_SECRET: process.env.WEBHOOK_SECRET },
  compatibilityDate: "2025-11-01",
  kvNamespaces: ["ANSWERS"],
  host: "127.0.0.1",
});
console.log(`receiver is up at ${await workerd.ready}`);
process.on("SIGTERM", () => workerd.dispose().then(() => process.exit(0)));
