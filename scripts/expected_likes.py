#!/usr/bin/env python3
"""Prints the event id of every like that the bundled recording must yield, one a line.

Computed from what the PDS answered when the records were written (truth.jsonl), less the accounts deleted later, whose
events are gone from the PDS's history. Uses no code of this project and no frame.

    scripts/expected_likes.py [truth.jsonl | truth.jsonl.zst | -]
"""
import json
import pathlib
import subprocess
import sys

LIKE = "app.bsky.feed.like"
BUNDLED = pathlib.Path(__file__).resolve().parent.parent / "testdata" / "pds20" / "truth.jsonl.zst"


def lines(name):
    if name == "-":
        return sys.stdin.buffer.read().splitlines()
    if name.endswith(".zst"):
        return subprocess.run(["zstd", "-dc", name], check=True, stdout=subprocess.PIPE).stdout.splitlines()
    return pathlib.Path(name).read_bytes().splitlines()


def uris(call):
    """The URIs of the records that a call has created."""
    body, answer = call.get("body") or {}, call.get("answer") or {}
    if call["nsid"] == "com.atproto.repo.createRecord":
        return [answer["uri"]]
    if call["nsid"] == "com.atproto.repo.applyWrites":
        pairs = zip(body["writes"], answer["results"])
        return [result["uri"] for write, result in pairs if write["$type"].endswith("#create")]
    return []


def likes(calls):
    deleted = {call["body"]["did"] for call in calls if call["nsid"] == "com.atproto.admin.deleteAccount"}
    for call in calls:
        for uri in uris(call):
            did, collection, rkey = uri.removeprefix("at://").split("/")
            if collection == LIKE and did not in deleted:
                yield f"{did}/{collection}/{rkey}@{call['answer']['commit']['rev']}"


def main():
    name = sys.argv[1] if len(sys.argv) > 1 else str(BUNDLED)
    calls = [json.loads(line) for line in lines(name) if line]
    for like in sorted(likes([call for call in calls if call["status"] == 200])):
        print(like)


main()
