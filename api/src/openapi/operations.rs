//! What is said of each operation: a function a route, in the order of the table.

use fpaas_core::subscription::Subscription;
use fpaas_core::{KeyId, SubscriptionId, TenantId, TopicName, limits};
use serde_json::{Value, json};

use super::operation::Operation;
use super::patched::SubscriptionPatch;
use crate::problem::Kind;
use crate::{
    attempts, browse, control, dry_run, evaluate, health, keys, list::Page, messages, redrive, replay, secrets, status,
    subscriptions, tenants, topics, trial,
};

type Op<'s> = Operation<'s>;

const SUBSCRIPTIONS: &str = "Subscriptions";
const TOPICS: &str = "Topics";
const KEYS: &str = "Keys";
const TENANTS: &str = "Tenants";
const NODE: &str = "Node";

fn subscription(op: Op<'_>) -> Op<'_> {
    op.names::<SubscriptionId>("id", "likes")
}

fn topic(op: Op<'_>) -> Op<'_> {
    op.names::<TopicName>("name", "like-results")
}

fn tenant(op: Op<'_>) -> Op<'_> {
    op.names::<TenantId>("id", "acme")
}

fn dry(op: Op<'_>) -> Op<'_> {
    let about = "Change nothing: say what it would be, and what it would have got of the most recent records";
    op.query("dryRun", json!({"type": "boolean", "default": false}), about)
}

pub(crate) fn list_subscriptions(op: Op<'_>) -> Op<'_> {
    let op = op.named("listSubscriptions", SUBSCRIPTIONS, "All subscriptions, by their ids").paged();
    op.answers::<Page<Subscription>>(200, "A page of them")
}

pub(crate) fn get_subscription(op: Op<'_>) -> Op<'_> {
    let op = subscription(op.named("getSubscription", SUBSCRIPTIONS, "A subscription, as it can be put again"));
    op.answers::<subscriptions::Shown<'_>>(200, "What it is").tagged().cached()
}

pub(crate) fn put_subscription(op: Op<'_>) -> Op<'_> {
    let example = json!({
        "filter": {"collections": ["app.bsky.feed.like"], "operations": ["create"]},
        "collector": {"maxEvents": 1000, "maxWaitMs": 1000},
        "processor": {"webhook": {"url": "https://likes.example.workers.dev/"}},
        "output": {"topic": "like-results"},
    });
    let op = op.named("putSubscription", SUBSCRIPTIONS, "Create a subscription, or replace it");
    let op = dry(subscription(op)).conditional().takes::<Subscription>(true, &example);
    let op = op.answers::<subscriptions::Shown<'_>>(201, "It is new: its secret is in this answer, and at `…/secret`");
    changed(op.located()).problems(&[Kind::QuotaExceeded, Kind::Conflict])
}

/// What it became, or what it would.
fn changed(mut op: Op<'_>) -> Op<'_> {
    let either = json!({"anyOf": [
        op.answer_schema::<subscriptions::Shown<'_>>(),
        op.answer_schema::<dry_run::DryRun<'_>>(),
    ]});
    op.gives(200, "What it is now; with `dryRun`, what it would be", "application/json", &either).tagged()
}

pub(crate) fn patch_subscription(op: Op<'_>) -> Op<'_> {
    let op = op.named("patchSubscription", SUBSCRIPTIONS, "Change what is given, and nothing else (RFC 7396)");
    let op = dry(subscription(op)).conditional();
    let names = ["application/merge-patch+json", "application/json"];
    let op = op.takes_as::<SubscriptionPatch>(&names, true, &json!({"collector": {"maxEvents": 500}}));
    changed(op).problems(&[Kind::QuotaExceeded, Kind::Conflict])
}

pub(crate) fn delete_subscription(op: Op<'_>) -> Op<'_> {
    let op = op.named("deleteSubscription", SUBSCRIPTIONS, "Delete it with its deliveries and dead letters");
    let op = op.about("Its output topic stays, and so does its source.");
    subscription(op).conditional().done("It is gone").problems(&[Kind::Conflict])
}

pub(crate) fn pause_subscription(op: Op<'_>) -> Op<'_> {
    let op = op.named("pauseSubscription", SUBSCRIPTIONS, "Hold it where it is");
    let op = op.about("Nothing is read for it, and its endpoint is not called. It does no harm where it is paused.");
    acted(op)
}

/// With nothing to say, for what it is now.
fn acted(op: Op<'_>) -> Op<'_> {
    let op = subscription(op).conditional().repeatable().takes::<subscriptions::Nothing>(false, &json!({}));
    let op = op.answers::<subscriptions::Shown<'_>>(200, "What it is now").tagged().marked();
    op.problems(&[Kind::Conflict])
}

pub(crate) fn resume_subscription(op: Op<'_>) -> Op<'_> {
    acted(op.named("resumeSubscription", SUBSCRIPTIONS, "Let it go on where it is"))
}

pub(crate) fn rotate_secret(op: Op<'_>) -> Op<'_> {
    let op = op.named("rotateSecret", SUBSCRIPTIONS, "Give its webhook a new secret");
    let op = op.about("Calls carry the old one's signature, too, until the overlap is over.");
    let op =
        subscription(op).conditional().repeatable().takes::<secrets::Rotation>(false, &json!({"overlapMs": 3_600_000}));
    op.answers::<secrets::Shown>(200, "What signs now").tagged().marked().problems(&[Kind::Conflict])
}

pub(crate) fn test_subscription(op: Op<'_>) -> Op<'_> {
    let op = op.named("testSubscription", SUBSCRIPTIONS, "Try its filter, and its webhook where that is asked for");
    let op = op.about(
        "On the events that are given, or on the most recent ones. Nothing is changed. With `call`, the key needs the \
         scope `write`.",
    );
    let op = subscription(op).takes::<trial::Asked>(false, &json!({"call": true}));
    op.answers::<trial::Answer>(200, "What came of it")
}

pub(crate) fn start_replay(op: Op<'_>) -> Op<'_> {
    let op = op.named("startReplay", SUBSCRIPTIONS, "Deliver a part of its source again");
    let op =
        op.about("Of what it has passed, by its filter as it is now, beside what comes and without delaying that.");
    let op = subscription(op)
        .conditional()
        .takes::<replay::Asked>(false, &json!({"from": "earliest", "eventsPerSecond": 1000}));
    let op = op.answers::<replay::Shown>(200, "It has begun").repeatable().marked();
    op.problems(&[Kind::Conflict])
}

pub(crate) fn get_replay(op: Op<'_>) -> Op<'_> {
    let op = op.named("getReplay", SUBSCRIPTIONS, "How far its last replay has come");
    subscription(op).answers::<replay::Shown>(200, "Where it is")
}

pub(crate) fn cancel_replay(op: Op<'_>) -> Op<'_> {
    let op = op.named("cancelReplay", SUBSCRIPTIONS, "Deliver no more of it");
    let op = op.about("What is delivered already is called all the same.");
    subscription(op).done("It is cancelled").problems(&[Kind::Conflict])
}

pub(crate) fn start_redrive(op: Op<'_>) -> Op<'_> {
    let op = op.named("startRedrive", SUBSCRIPTIONS, "Deliver dead letters again");
    let op = op.about(
        "Those that are there when it is asked for, as they were and with the ids that they had, beside what comes. They \
         stay among the dead letters, too. Refused results and those whose values were left out are passed over.",
    );
    let op = subscription(op)
        .conditional()
        .takes::<redrive::Asked>(false, &json!({"reasons": ["status", "timeout"], "eventsPerSecond": 100}));
    let op = op.answers::<redrive::Shown>(200, "It has begun").repeatable().marked();
    op.problems(&[Kind::Conflict])
}

pub(crate) fn get_redrive(op: Op<'_>) -> Op<'_> {
    let op = op.named("getRedrive", SUBSCRIPTIONS, "How far its last redrive has come");
    subscription(op).answers::<redrive::Shown>(200, "Where it is")
}

pub(crate) fn cancel_redrive(op: Op<'_>) -> Op<'_> {
    let op = op.named("cancelRedrive", SUBSCRIPTIONS, "Deliver no more of them");
    let op = op.about("What is delivered already is called all the same.");
    subscription(op).done("It is cancelled").problems(&[Kind::Conflict])
}

pub(crate) fn get_status(op: Op<'_>) -> Op<'_> {
    let op = op.named("getSubscriptionStatus", SUBSCRIPTIONS, "Whether it moves, and if not, why");
    subscription(op).answers::<status::Status>(200, "How it fares")
}

pub(crate) fn get_dead_letters(op: Op<'_>) -> Op<'_> {
    let op = op.named("getDeadLetters", SUBSCRIPTIONS, "What was given up on, with the reasons");
    records(subscription(op))
}

pub(crate) fn get_attempts(op: Op<'_>) -> Op<'_> {
    let op = op.named("getAttempts", SUBSCRIPTIONS, "How the calls of its webhook ended, the newest first");
    let op = op.about("The delivery log is kept for three days, and of a tenant no more than 256 MiB.");
    let time = || json!({"type": "string", "format": "date-time"});
    subscription(op)
        .paged()
        .query("outcome", json!({"type": "string"}), "`acknowledged`, a reason such as `timeout`, or `failed` for all")
        .query("status", json!({"type": "integer", "minimum": 100, "maximum": 599}), "What was answered")
        .query("batch", json!({"type": "string"}), "The `webhook-id`")
        .query("lane", json!({"type": "integer", "minimum": 0, "maximum": limits::LANES_MAX - 1}), "Of that lane alone")
        .query("from", time(), "Begun then or later")
        .query("to", time(), "Begun before then")
        .answers::<attempts::Page>(200, "A page of them")
}

pub(crate) fn get_secret(op: Op<'_>) -> Op<'_> {
    let op = op.named("getSecret", SUBSCRIPTIONS, "What its webhook's calls are signed with");
    subscription(op).answers::<secrets::Shown>(200, "What signs now").tagged().cached()
}

pub(crate) fn get_public_key(op: Op<'_>) -> Op<'_> {
    let op = op.named("getPublicKey", SUBSCRIPTIONS, "What the v1a signatures of its webhook's calls are checked with");
    subscription(op).answers::<secrets::PublicKeys>(200, "What checks them now").tagged().cached()
}

pub(crate) fn list_topics(op: Op<'_>) -> Op<'_> {
    let op = op.named("listTopics", TOPICS, "All topics, by their names, and the firehose");
    op.paged().answers::<Page<topics::Topic>>(200, "A page of them")
}

pub(crate) fn get_topic(op: Op<'_>) -> Op<'_> {
    let op = topic(op.named("getTopic", TOPICS, "A topic, as it can be put again"));
    op.answers::<topics::Topic>(200, "What it is").tagged().cached()
}

pub(crate) fn put_topic(op: Op<'_>) -> Op<'_> {
    let example = json!({"partitions": 4, "retentionMs": 86_400_000});
    let op = op.named("putTopic", TOPICS, "Create a topic, or change its retention");
    let op =
        topic(op).query("dryRun", json!({"type": "boolean", "default": false}), "Change nothing: say what it would be");
    let op = op.conditional().takes::<topics::Topic>(true, &example).answers::<topics::Topic>(201, "It is new");
    let op = op.answers::<topics::Topic>(200, "What it is now; with `dryRun`, what it would be");
    op.tagged().located().problems(&[Kind::QuotaExceeded, Kind::Conflict])
}

pub(crate) fn delete_topic(op: Op<'_>) -> Op<'_> {
    let op = op.named("deleteTopic", TOPICS, "Delete a topic with its records");
    let op = op.about("Not while a subscription reads or writes it. Its name is free again a moment later.");
    topic(op).conditional().done("It is gone").problems(&[Kind::Conflict])
}

pub(crate) fn get_records(op: Op<'_>) -> Op<'_> {
    records(topic(op.named("getRecords", TOPICS, "The records of a topic, by offset or time")))
}

fn records(op: Op<'_>) -> Op<'_> {
    let number = || json!({"type": "integer", "minimum": 0});
    let op =
        op.paged().query("partition", number(), "That one alone").query("offset", number(), "Where to begin in it");
    from(op, "earliest").answers::<browse::Body<'_>>(200, "A page of them")
}

fn from<'s>(op: Op<'s>, default: &str) -> Op<'s> {
    let time = json!({"type": "string", "format": "date-time"});
    let schema = json!({"anyOf": [{"enum": ["earliest", "latest"]}, time], "default": default});
    op.query("from", schema, "Where to begin: `earliest`, `latest`, or a time")
}

pub(crate) fn tail(op: Op<'_>) -> Op<'_> {
    let op = topic(op.named("tailTopic", TOPICS, "Records as they come, as server-sent events"));
    let op = op.about(
        "Each event is a record as `getRecords` shows it. Its id resumes the tail without a gap. An event \
        `lost` has `partition`, `from` and `to`: offsets of records that retention removed before they were sent.",
    );
    let id = json!({"type": "string", "pattern": "^[0-9a-f]{12}(-[0-9]+)+$"});
    let op = from(op, "latest").sends("Last-Event-ID", id, "The id of the last event that was received");
    op.gives(200, "The tail", "text/event-stream", &json!({"type": "string"})).problems(&[Kind::TooManyTails])
}

pub(crate) fn evaluate(op: Op<'_>) -> Op<'_> {
    let example = json!({
        "expression": "commit.record.langs[0]",
        "events": [{"kind": "commit", "commit": {"record": {"langs": ["en"]}}}],
    });
    let op = op.named("evaluateJmespath", "JMESPath", "What an expression makes of events");
    op.takes::<evaluate::Asked>(true, &example).answers::<evaluate::Evaluated>(200, "A result for each event")
}

fn listed(op: Op<'_>) -> Op<'_> {
    op.paged().answers::<Page<keys::Shown>>(200, "A page of them")
}

fn made(op: Op<'_>) -> Op<'_> {
    let example = json!({"scopes": ["write"], "description": "the indexer"});
    let op = op.takes::<keys::Asked>(true, &example).repeatable();
    let op = op.answers::<keys::Shown>(201, "The key is in this answer and in no other").located();
    op.problems(&[Kind::QuotaExceeded, Kind::Conflict])
}

pub(crate) fn list_keys(op: Op<'_>) -> Op<'_> {
    listed(op.named("listKeys", KEYS, "The tenant's keys, by their ids"))
}

pub(crate) fn make_key(op: Op<'_>) -> Op<'_> {
    made(op.named("createKey", KEYS, "Make a key"))
}

pub(crate) fn delete_key(op: Op<'_>) -> Op<'_> {
    let op = op.named("deleteKey", KEYS, "Delete a key: it opens nothing any more");
    op.names::<KeyId>("id", "6f1d0b8e52c7a943").done("It is gone").problems(&[Kind::Conflict])
}

pub(crate) fn list_tenants(op: Op<'_>) -> Op<'_> {
    let op = op.named("listTenants", TENANTS, "All tenants, by their ids");
    op.paged().answers::<Page<tenants::Tenant>>(200, "A page of them")
}

pub(crate) fn get_tenant(op: Op<'_>) -> Op<'_> {
    let op = tenant(op.named("getTenant", TENANTS, "A tenant, as it can be put again"));
    op.answers::<tenants::Tenant>(200, "What it is").tagged().cached()
}

pub(crate) fn put_tenant(op: Op<'_>) -> Op<'_> {
    let op = op.named("putTenant", TENANTS, "Create a tenant, or move it to another pool");
    let op = tenant(op).conditional().takes::<tenants::Tenant>(true, &json!({"pool": "_shared"}));
    let op = op.answers::<tenants::Tenant>(201, "It is new").answers::<tenants::Tenant>(200, "What it is");
    op.located().tagged().problems(&[Kind::QuotaExceeded, Kind::Conflict])
}

pub(crate) fn delete_tenant(op: Op<'_>) -> Op<'_> {
    let op = op.named("deleteTenant", TENANTS, "Delete a tenant that has nothing but keys");
    tenant(op).conditional().done("It is gone, with its keys").problems(&[Kind::Conflict])
}

pub(crate) fn list_tenant_keys(op: Op<'_>) -> Op<'_> {
    listed(tenant(op.named("listTenantKeys", TENANTS, "A tenant's keys, by their ids")))
}

pub(crate) fn make_tenant_key(op: Op<'_>) -> Op<'_> {
    made(tenant(op.named("createTenantKey", TENANTS, "Make a key for a tenant")))
}

pub(crate) fn delete_tenant_key(op: Op<'_>) -> Op<'_> {
    let op = tenant(op.named("deleteTenantKey", TENANTS, "Delete a tenant's key"));
    op.names::<KeyId>("keyId", "6f1d0b8e52c7a943").done("It is gone").problems(&[Kind::Conflict])
}

pub(crate) fn get_control(op: Op<'_>) -> Op<'_> {
    let op = op.named("getControl", NODE, "What this node knows of the control topic");
    let op = op.about("Nodes at the same revision have the same digest. It is looked at between two commands.");
    op.answers::<control::Known>(200, "Revision and digest")
}

pub(crate) fn get_messages(op: Op<'_>) -> Op<'_> {
    let op = op.named("getMessages", NODE, "Which messages this node writes to its log");
    op.answers::<messages::Shown>(200, "The filter")
}

pub(crate) fn put_messages(op: Op<'_>) -> Op<'_> {
    let op = op.named("putMessages", NODE, "Write others, until this node is started again");
    let op = op.takes::<messages::Shown>(true, &json!({"filter": "info,fpaas_router=debug"}));
    op.answers::<messages::Shown>(200, "The filter as it is now")
}

pub(crate) fn healthy(op: Op<'_>) -> Op<'_> {
    op.named("healthy", NODE, "Does the process answer?").answers::<health::Health>(200, "It does")
}

pub(crate) fn ready(op: Op<'_>) -> Op<'_> {
    let op = op.named("ready", NODE, "Can it be used?").answers::<health::Readiness>(200, "It can");
    op.answers::<health::Readiness>(503, "Not yet, or not any more")
}

pub(crate) fn metrics(op: Op<'_>) -> Op<'_> {
    let op = op.named("metrics", NODE, "What it counts, as OpenMetrics text");
    op.gives(200, "The metrics", "application/openmetrics-text", &json!({"type": "string"}))
}

pub(crate) fn document(op: Op<'_>) -> Op<'_> {
    let any: Value = json!({"type": "object"});
    op.named("openapi", NODE, "This document").gives(200, "OpenAPI 3.1", "application/json", &any)
}

pub(crate) fn page(op: Op<'_>) -> Op<'_> {
    let text = json!({"type": "string"});
    let policy = json!({"description": "Nothing on it runs, or comes from elsewhere", "schema": text});
    let op = op.named("docs", NODE, "This document, to be read").gives(200, "A page", "text/html", &text);
    op.heads("200", "Content-Security-Policy", policy)
}
