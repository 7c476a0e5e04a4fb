// The Lambda behind a function URL, as far as a caller sees: HTTP to the event of payload format 2.0 and back. Run by
// scripts/test-examples.sh.

import { createServer } from "node:http";
import { handler } from "../lambda/index.mjs";

/** As AWS does it: text is handed over as it is, anything else as base64; here both in turn, so that both are tried. */
let calls = 0;

async function event(request) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const body = Buffer.concat(chunks);
  const isBase64Encoded = calls++ % 2 === 0;
  const url = new URL(request.url, "http://localhost");
  // One value each, with small letters and commas between several.
  const headers = Object.fromEntries(Object.entries(request.headers).map(([name, value]) => [name, `${value}`]));
  return {
    version: "2.0",
    routeKey: "$default",
    rawPath: url.pathname,
    rawQueryString: url.search.slice(1),
    headers,
    requestContext: {
      accountId: "anonymous",
      apiId: "local",
      domainName: "local.lambda-url.eu-central-1.on.aws",
      http: { method: request.method, path: url.pathname, protocol: "HTTP/1.1", sourceIp: "127.0.0.1" },
      requestId: `${calls}`,
      routeKey: "$default",
      stage: "$default",
      timeEpoch: Date.now(),
    },
    ...(body.length > 0 && { body: body.toString(isBase64Encoded ? "base64" : "utf8") }),
    isBase64Encoded,
  };
}

const server = createServer(async (request, response) => {
  try {
    const { statusCode = 200, headers = {}, body = "", isBase64Encoded } = await handler(await event(request));
    response.writeHead(statusCode, headers).end(Buffer.from(body, isBase64Encoded ? "base64" : "utf8"));
  } catch (error) {
    console.error(error);
    response.writeHead(502).end("Internal Server Error");
  }
});
server.keepAliveTimeout = 60_000;
server.listen(0, "127.0.0.1", () => console.log(`receiver is up at http://127.0.0.1:${server.address().port}/`));
