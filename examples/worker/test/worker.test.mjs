// The Worker under the real workerd, called as FPaaS calls it. Run by scripts/test-worker.sh, which installs miniflare.

import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import path from "node:path";
import { after, before, test } from "node:test";

const { Miniflare } = createRequire(path.join(process.env.WORKER_TEST_HOME, "x.js"))("miniflare");

const SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const LIKE = {
  id: "did:plc:a/app.bsky.feed.like/1@2",
  event: { did: "did:plc:a", commit: { record: { subject: { uri: "at://did:plc:b/app.bsky.feed.post/3" } } } },
};
const BODY = JSON.stringify({ subscription: "likes", batch: { id: "b1" }, events: [LIKE] });
const RECORDS = {
  records: [{ key: "did:plc:a", value: { id: LIKE.id, subject: "at://did:plc:b/app.bsky.feed.post/3" } }],
};

let workerd, url;

before(async () => {
  const script = await readFile(new URL("../src/index.js", import.meta.url), "utf8");
  const bindings = { WEBHOOK_SECRET: SECRET };
  const flags = { compatibilityDate: "2025-11-01", kvNamespaces: ["ANSWERS"], host: "127.0.0.1" };
  workerd = new Miniflare({ modules: true, script, bindings, ...flags });
  url = await workerd.ready;
});

after(() => workerd?.dispose());

function sign(id, timestamp, body, secret = SECRET) {
  const key = Buffer.from(secret.slice("whsec_".length), "base64");
  return "v1," + createHmac("sha256", key).update(`${id}.${timestamp}.${body}`).digest("base64");
}

function call({ id = "b1", at = Math.floor(Date.now() / 1000), body = BODY, signature } = {}) {
  const headers = { "webhook-id": id, "webhook-timestamp": `${at}` };
  headers["webhook-signature"] = signature ?? sign(id, at, body);
  return fetch(url, { method: "POST", headers, body });
}

test("a signed batch is answered with one record per like", async () => {
  const answer = await call();
  assert.equal(answer.status, 200);
  assert.deepEqual(await answer.json(), RECORDS);
});

test("a repeated call gets the answer it had, whatever it is", async () => {
  const answers = await workerd.getKVNamespace("ANSWERS");
  await answers.put("b2", '{"records":[]}');
  assert.deepEqual(await (await call({ id: "b2" })).json(), { records: [] });
});

test("a second secret's signature beside the right one is no trouble", async () => {
  const at = Math.floor(Date.now() / 1000);
  const signature = `v1,AAAA v1a,x ${sign("b3", at, BODY)}`;
  assert.equal((await call({ id: "b3", at, signature })).status, 200);
});

test("what is forged, old or changed is refused", async () => {
  const now = Math.floor(Date.now() / 1000);
  assert.equal((await call({ signature: "v1,AAAA" })).status, 401);
  assert.equal((await call({ signature: "v1,%%%" })).status, 401);
  assert.equal((await call({ at: now - 400 })).status, 401);
  assert.equal((await call({ body: "{}", signature: sign("b1", now, BODY), at: now })).status, 401);
  assert.equal((await call({ at: now, signature: sign("b1", now, BODY, "whsec_AAAA") })).status, 401);
  assert.equal((await fetch(url, { method: "POST", body: BODY })).status, 401);
});

test("what is no batch is 400, and another method 405", async () => {
  assert.equal((await call({ id: "b4", body: "[1]" })).status, 400);
  assert.equal((await fetch(url)).status, 405);
});
