// A webhook receiver to start from, as a Cloudflare Worker: checks the signature, remembers what it has answered,
// answers one record per like. The same as ../receiver, in one file and without a dependency.
//
// Bindings: WEBHOOK_SECRET (a secret, `whsec_…`), and ANSWERS (a KV namespace, optional).

/** How far the clocks of both sides may be apart, in seconds; also how long a copied call could be sent again. */
const TOLERANCE = 300;

/** How long an answer is remembered, in seconds: longer than calls are retried. */
const REMEMBERED = 24 * 3600;

export default {
  async fetch(request, env) {
    if (request.method !== "POST") return new Response(null, { status: 405, headers: { allow: "POST" } });
    const body = new Uint8Array(await request.arrayBuffer());
    const trouble = await distrust(env.WEBHOOK_SECRET, request.headers, body, Date.now() / 1000);
    if (trouble) return new Response(trouble, { status: 401 });

    const id = request.headers.get("webhook-id");
    const known = await env.ANSWERS?.get(id);
    if (known) return json(known);
    const records = work(body);
    if (!records) return new Response("not a batch", { status: 400 });
    const answer = JSON.stringify({ records });
    // Calls are repeated: what is done outside of the answer must be done once per id. Here that is nothing, so a KV
    // that is a minute behind only means that the same answer is computed again.
    await env.ANSWERS?.put(id, answer, { expirationTtl: REMEMBERED });
    return json(answer);
  },
};

/** The work: a batch of likes in, one record per like out. What is null (a tombstone) or no JSON has none. */
function work(body) {
  try {
    const { events } = JSON.parse(new TextDecoder().decode(body));
    return events.filter(({ event }) => event?.did).map(({ id, event }) => ({
      key: event.did,
      value: { id, subject: event.commit?.record?.subject?.uri ?? null },
    }));
  } catch {
    return null;
  }
}

function json(text) {
  return new Response(text, { headers: { "content-type": "application/json" } });
}

/** Why this call is not to be trusted, or null: HMAC-SHA256 over id.timestamp.body (standardwebhooks.com). */
async function distrust(secret, headers, body, now) {
  const id = headers.get("webhook-id");
  const timestamp = headers.get("webhook-timestamp");
  const signatures = headers.get("webhook-signature");
  if (!id || !timestamp || !signatures) return "a webhook- header is missing";
  if (!(Math.abs(now - Number(timestamp)) <= TOLERANCE)) return "webhook-timestamp is too far from now";
  if (!secret?.startsWith("whsec_")) return "WEBHOOK_SECRET is not set to whsec_…";

  const raw = bytes(secret.slice("whsec_".length));
  const key = await crypto.subtle.importKey("raw", raw, { name: "HMAC", hash: "SHA-256" }, false, ["verify"]);
  const head = new TextEncoder().encode(`${id}.${timestamp}.`);
  const signed = new Uint8Array(head.length + body.length);
  signed.set(head);
  signed.set(body, head.length);
  for (const signature of signatures.split(" ")) {
    if (!signature.startsWith("v1,")) continue;
    const given = bytes(signature.slice("v1,".length));
    // `verify` takes the same time wherever the first difference is.
    if (given && (await crypto.subtle.verify("HMAC", key, given, signed))) return null;
  }
  return "the signature does not match";
}

/** Base64 to bytes; null when it is none. */
function bytes(text) {
  try {
    return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  } catch {
    return null;
  }
}
