// A webhook receiver to start from, as an AWS Lambda function behind a function URL: checks the signature, remembers
// what it has answered, answers one record per like, and names the events that it could not do as batchItemFailures.
//
// Environment: WEBHOOK_SECRET (`whsec_…`). Node 20 or newer, no dependency.

import { createHmac, timingSafeEqual } from "node:crypto";

/** How far the clocks of both sides may be apart, in seconds; also how long a copied call could be sent again. */
const TOLERANCE = 300;

/**
 * The answers that were given, by webhook-id. Each instance of a function has its own memory, so a real one keeps them
 * in DynamoDB: a conditional put (attribute_not_exists) of the id with what is done, in one transaction, and a TTL of a
 * day.
 */
const answers = new Map();
const REMEMBERED_MAX = 10_000;

export async function handler(request) {
  if (request.requestContext?.http?.method !== "POST") return { statusCode: 405, headers: { allow: "POST" } };
  // The bytes as they came: what is parsed and written again has another signature.
  const body = Buffer.from(request.body ?? "", request.isBase64Encoded ? "base64" : "utf8");
  const trouble = distrust(process.env.WEBHOOK_SECRET, request.headers, body, Date.now() / 1000);
  if (trouble) return { statusCode: 401, body: trouble };

  const id = request.headers["webhook-id"];
  const known = answers.get(id);
  if (known) return json(known);
  const done = work(body);
  if (!done) return { statusCode: 400, body: "not a batch" };
  const answer = JSON.stringify(done);
  answers.set(id, answer);
  if (answers.size > REMEMBERED_MAX) answers.delete(answers.keys().next().value);
  return json(answer);
}

/** Every event by itself: one that fails is sent again, in a batch of its own, and the others are done. */
function work(body) {
  const events = parsed(body)?.events;
  if (!Array.isArray(events)) return null;
  const [records, batchItemFailures] = [[], []];
  for (const { id, event } of events) {
    try {
      const made = record(id, event);
      if (made) records.push(made);
    } catch (error) {
      console.error(id, error);
      batchItemFailures.push({ itemIdentifier: id });
    }
  }
  return { records, batchItemFailures };
}

/** The work: one record per like. What is null (a tombstone) or no JSON has none. */
function record(id, event) {
  if (!event?.did) return null;
  return { key: event.did, value: { id, subject: event.commit?.record?.subject?.uri ?? null } };
}

function parsed(body) {
  try {
    return JSON.parse(body.toString("utf8"));
  } catch {
    return null;
  }
}

function json(body) {
  return { statusCode: 200, headers: { "content-type": "application/json" }, body };
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
