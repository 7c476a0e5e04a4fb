"""A webhook receiver to start from, with FastAPI: checks the signature, remembers what it has answered, answers one
record per like.

Environment: WEBHOOK_SECRET (`whsec_…`). Run it with `uvicorn receiver:app --port 8787`.
"""

import base64
import binascii
import hashlib
import hmac
import json
import os
import time
from collections import OrderedDict

from fastapi import FastAPI, Request, Response

# How far the clocks of both sides may be apart, in seconds; also how long a copied call could be sent again.
TOLERANCE = 300
# The answers that were given, by webhook-id. In memory, so they are forgotten at a restart, and another process does
# not know them: a real one keeps the ids where its work is kept (a row of Postgres), in the same transaction.
answers: OrderedDict[str, bytes] = OrderedDict()
REMEMBERED_MAX = 10_000

app = FastAPI()


@app.post("/")
async def receive(request: Request) -> Response:
    # The bytes as they came: what is parsed and written again has another signature.
    body = await request.body()
    trouble = distrust(os.environ.get("WEBHOOK_SECRET", ""), request.headers, body, time.time())
    if trouble:
        return Response(trouble, status_code=401)

    batch = request.headers["webhook-id"]
    answer = answers.get(batch)
    if answer is None:
        records = work(body)
        if records is None:
            return Response("not a batch", status_code=400)
        answer = json.dumps({"records": records}).encode()
        answers[batch] = answer
        if len(answers) > REMEMBERED_MAX:
            answers.popitem(last=False)
    return Response(answer, media_type="application/json")


def work(body: bytes) -> list | None:
    """A batch of likes in, one record per like out. What is null (a tombstone) or no JSON has none."""
    try:
        return [record(one["id"], one["event"]) for one in json.loads(body)["events"] if one.get("event")]
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def record(name: str, event: dict) -> dict:
    commit = event.get("commit") or {}
    subject = (commit.get("record") or {}).get("subject")
    uri = subject.get("uri") if isinstance(subject, dict) else None
    return {"key": event["did"], "value": {"id": name, "subject": uri}}


def distrust(secret: str, headers, body: bytes, now: float) -> str | None:
    """Why this call is not to be trusted: HMAC-SHA256 over id.timestamp.body (standardwebhooks.com)."""
    batch, timestamp, signatures = (headers.get(f"webhook-{name}") for name in ("id", "timestamp", "signature"))
    if not (batch and timestamp and signatures):
        return "a webhook- header is missing"
    if not timestamp.isascii() or not timestamp.isdigit() or abs(now - int(timestamp)) > TOLERANCE:
        return "webhook-timestamp is too far from now"
    if not secret.startswith("whsec_"):
        return "WEBHOOK_SECRET is not set to whsec_…"
    key = base64.b64decode(secret.removeprefix("whsec_"))
    expected = hmac.digest(key, f"{batch}.{timestamp}.".encode() + body, hashlib.sha256)
    # Several, while a secret is rotated: one of them must match. Comparing takes the same time whatever they are.
    given = [decoded(one.removeprefix("v1,")) for one in signatures.split(" ") if one.startswith("v1,")]
    return None if any(hmac.compare_digest(one, expected) for one in given) else "the signature does not match"


def decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""
