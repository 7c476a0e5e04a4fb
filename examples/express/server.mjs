// A webhook receiver to start from, with Express: checks the signature, remembers what it has answered, answers one
// record per like.
//
// Environment: WEBHOOK_SECRET (`whsec_…`), PORT (8787).

import { createHmac, timingSafeEqual } from "node:crypto";
import express from "express";

/** How far the clocks of both sides may be apart, in seconds; also how long a copied call could be sent again. */
const TOLERANCE = 300;
/** Above the largest batch, which is 6 MiB of events and what wraps them. */
const BODY_BYTES_MAX = 16 * 1024 * 1024;

/**
 * The answers that were given, by webhook-id. In memory, so they are forgotten at a restart, and others do not know
 * them: a real one keeps the ids where its work is kept (a row of Postgres), in the same transaction.
 */
const answers = new Map();
const REMEMBERED_MAX = 10_000;

const app = express();

// The bytes as they came: what is parsed and written again has another signature.
app.post("/", express.raw({ type: () => true, limit: BODY_BYTES_MAX }), (request, response) => {
  const body = Buffer.isBuffer(request.body) ? request.body : Buffer.alloc(0);
  const trouble = distrust(process.env.WEBHOOK_SECRET, request.headers, body, Date.now() / 1000);
  if (trouble) return response.status(401).send(trouble);

  const id = request.headers["webhook-id"];
  const known = answers.get(id);
  if (known) return response.type("application/json").send(known);
  const records = work(body);
  if (!records) return response.status(400).send("not a batch");
  const answer = JSON.stringify({ records });
  answers.set(id, answer);
  if (answers.size > REMEMBERED_MAX) answers.delete(answers.keys().next().value);
  response.type("application/json").send(answer);
});

app.all("/", (_, response) => response.status(405).set("allow", "POST").end());

/** The work: a batch of likes in, one record per like out. What is null (a tombstone) or no JSON has none. */
function work(body) {
  try {
    const { events } = JSON.parse(body.toString("utf8"));
    return events.filter(({ event }) => event?.did).map(({ id, event }) => ({
      key: event.did,
      value: { id, subject: event.commit?.record?.subject?.uri ?? null },
    }));
  } catch {
    return null;
  }
}

/** Why this call is not to be trusted, or null: HMAC-SHA256 over id.timestamp.body (standardwebhooks.com). */
function distrust(secret, headers, body, now) {
  const [id, timestamp, signatures] = ["id", "timestamp", "signature"].map((name) => headers[`webhook-${name}`]);
  if (!id || !timestamp || !signatures) return "a webhook- header is missing";
  if (!(Math.abs(now - Number(timestamp)) <= TOLERANCE)) return "webhook-timestamp is too far from now";
  if (!secret?.startsWith("whsec_")) return "WEBHOOK_SECRET is not set to whsec_…";
  const key = Buffer.from(secret.slice("whsec_".length), "base64");
  const expected = createHmac("sha256", key).update(`${id}.${timestamp}.`).update(body).digest();
  // Several, while a secret is rotated: one of them must match, and comparing takes the same time whatever they are.
  const given = signatures.split(" ").filter((one) => one.startsWith("v1,"));
  const matches = given.map((one) => Buffer.from(one.slice("v1,".length), "base64")).some(
    (one) => one.length === expected.length && timingSafeEqual(one, expected),
  );
  return matches ? null : "the signature does not match";
}

const server = app.listen(Number(process.env.PORT ?? 8787), "127.0.0.1", () =>
  console.log(`receiver is up at http://127.0.0.1:${server.address().port}/`));
// FPaaS keeps a connection for 50 s; who closes it first should be the caller.
server.keepAliveTimeout = 60_000;
