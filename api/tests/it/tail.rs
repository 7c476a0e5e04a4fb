//! Tails.

use axum::body::{Body, BodyDataStream};
use fpaas_core::limits;
use futures_util::StreamExt as _;
use serde_json::{Value, json};

use crate::world::{Answer, CONTRACT, World, record, request};

const TAIL: &str = "/v1/topics/firehose/tail";

/// Reads server-sent events.
pub(crate) struct Events {
    stream: BodyDataStream,
    buffer: String,
}

/// One of them: its fields by name; a comment has the name "".
#[derive(Debug)]
pub(crate) struct Event(Vec<(String, String)>);

impl Event {
    fn field(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    fn item(&self) -> Value {
        let data = serde_json::from_str(self.field("data").unwrap()).unwrap();
        let schema = if self.field("event") == Some("lost") { "LostRecords" } else { "Record" };
        CONTRACT.part(schema, &data).unwrap();
        data
    }
}

impl Events {
    async fn open(world: &World, path: &str, last: Option<&str>) -> Self {
        let mut request = request("GET", path, Body::empty());
        if let Some(last) = last {
            request.headers_mut().insert("last-event-id", last.parse().unwrap());
        }
        let response = world.send(request).await;
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let mut events = Self { stream: response.into_body().into_data_stream(), buffer: String::new() };
        let first = events.next().await.unwrap();
        assert!(first.field("").is_some() && first.field("id").is_some() && first.field("data").is_none(), "{first:?}");
        events
    }

    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some((event, rest)) = self.buffer.split_once("\n\n") {
                let field = |line: &str| {
                    let (name, value) = line.split_once(':').unwrap();
                    (name.to_owned(), value.trim_start().to_owned())
                };
                let event = Event(event.lines().map(field).collect());
                self.buffer = rest.to_owned();
                return Some(event);
            }
            let chunk = self.stream.next().await?.unwrap();
            self.buffer.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    async fn numbers(&mut self, count: usize) -> Vec<u64> {
        let mut numbers = Vec::new();
        while numbers.len() < count {
            numbers.push(self.next().await.unwrap().item()["value"]["n"].as_u64().unwrap());
        }
        numbers.sort_unstable();
        numbers
    }
}

async fn append(world: &World, numbers: std::ops::Range<u32>) {
    let firehose = world.context.topics.firehose();
    for n in numbers {
        world.append(&firehose, n % 16, [record("k", format!("{{\"n\":{n}}}"), i64::from(n))]).await;
    }
}

#[tokio::test]
async fn what_comes_after_the_tail_was_opened_is_sent_from_all_partitions() {
    let world = World::new().await;
    append(&world, 0..20).await;
    let mut tail = Events::open(&world, TAIL, None).await;
    append(&world, 20..60).await;
    assert_eq!(tail.numbers(40).await, (20..60).collect::<Vec<_>>());
    append(&world, 60..61).await;
    assert_eq!(tail.numbers(1).await, [60]);
}

#[tokio::test]
async fn a_tail_from_earliest_or_a_time_begins_there() {
    let world = World::new().await;
    append(&world, 0..40).await;
    let mut tail = Events::open(&world, &format!("{TAIL}?from=earliest"), None).await;
    assert_eq!(tail.numbers(40).await, (0..40).collect::<Vec<_>>());
    let mut tail = Events::open(&world, &format!("{TAIL}?from=2026-11-23T20:00:00.030Z"), None).await;
    assert_eq!(tail.numbers(10).await, (30..40).collect::<Vec<_>>());
}

#[tokio::test]
async fn the_last_id_resumes_without_a_gap_or_a_double() {
    let world = World::new().await;
    append(&world, 0..40).await;
    for taken in [1, 17, 39] {
        let mut tail = Events::open(&world, &format!("{TAIL}?from=earliest"), None).await;
        let (mut seen, mut last) = (Vec::new(), String::new());
        for _ in 0..taken {
            let event = tail.next().await.unwrap();
            seen.push(event.item()["value"]["n"].as_u64().unwrap());
            last = event.field("id").unwrap().to_owned();
        }
        drop(tail);
        let mut tail = Events::open(&world, TAIL, Some(&last)).await;
        seen.extend(tail.numbers(40 - taken).await);
        seen.sort_unstable();
        assert_eq!(seen, (0..40).collect::<Vec<_>>());
    }
    let mut wrong = request("GET", TAIL, Body::empty());
    wrong.headers_mut().insert("last-event-id", "1-2".parse().unwrap());
    world.call(wrong).await.refused(400, "invalid-request", &[""]);
}

/// The id of the event with that number.
async fn id_of(world: &World, path: &str, number: usize) -> String {
    let mut tail = Events::open(world, &format!("{path}?from=earliest"), None).await;
    for _ in 1..number {
        tail.next().await.unwrap();
    }
    tail.next().await.unwrap().field("id").unwrap().to_owned()
}

async fn resumed(world: &World, path: &str, id: &str) -> Answer {
    let mut asked = request("GET", path, Body::empty());
    asked.headers_mut().insert("last-event-id", id.parse().unwrap());
    world.call(asked).await
}

fn detail(answer: &Answer) -> String {
    answer.refused(400, "invalid-request", &[""]);
    serde_json::from_slice::<Value>(&answer.body).unwrap()["detail"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn what_retention_removed_before_it_was_sent_is_told() {
    let world = World::new().await;
    append(&world, 0..48).await;
    let id = id_of(&world, TAIL, 1).await;
    let firehose = world.context.topics.firehose();
    let at = |partition| fpaas_core::TopicPartition::new(firehose.as_str(), partition);
    let end = world.context.log.watermarks(&at(5)).await.unwrap().end;
    world.context.log.trim(&at(5), end).await.unwrap();
    append(&world, 53..54).await;
    let mut tail = Events::open(&world, TAIL, Some(&id)).await;
    let (mut numbers, mut lost) = (Vec::new(), Vec::new());
    while numbers.len() < 48 - 1 - 3 + 1 {
        let event = tail.next().await.unwrap();
        match event.field("event") {
            None => numbers.push(event.item()["value"]["n"].as_u64().unwrap()),
            Some(name) => lost.push((name.to_owned(), event.item(), event.field("id").unwrap().to_owned())),
        }
    }
    let [(name, data, after)] = lost.as_slice() else { panic!("{lost:?}") };
    assert_eq!((name.as_str(), data), ("lost", &json!({"partition": 5, "from": 0, "to": end.0})));
    assert!(numbers.contains(&53) && !numbers.iter().any(|number| [5, 21, 37].contains(number)), "{numbers:?}");
    // It is told once: who goes on behind it has heard of it.
    let mut tail = Events::open(&world, TAIL, Some(after)).await;
    assert_eq!(tail.next().await.unwrap().field("event"), None);
}

#[tokio::test]
async fn an_id_of_another_topic_or_past_the_end_is_refused() {
    let world = World::new().await;
    append(&world, 0..20).await;
    for topic in ["out", "other"] {
        world.put(&format!("/v1/topics/{topic}"), "{}").await.json(201);
        world.append(&format!("fpaas.local.t.{topic}"), 0, (0..3).map(|n| record("k", "{\"n\":1}", n))).await;
    }
    let tail = "/v1/topics/out/tail";
    let id = id_of(&world, tail, 3).await;
    let other = detail(&resumed(&world, "/v1/topics/other/tail", &id).await);
    assert!(other.contains("of another topic, or of one that had this name before"), "{other}");
    let (making, _) = id.split_once('-').unwrap();
    let beyond = detail(&resumed(&world, tail, &format!("{making}-1000")).await);
    assert!(beyond.contains("partition 0 does not hold"), "{beyond}");
    // It is deleted and made again, and has come as far.
    assert_eq!(world.delete("/v1/topics/out").await.status, 204);
    let mut views = world.context.control.views();
    views.wait_for(|view| view.deleted.is_empty()).await.unwrap();
    world.put("/v1/topics/out", "{}").await.json(201);
    world.append("fpaas.local.t.out", 0, (0..9).map(|n| record("k", "{\"n\":2}", n))).await;
    let again = detail(&resumed(&world, tail, &id).await);
    assert!(again.contains("of one that had this name before"), "{again}");
}

#[tokio::test]
async fn an_item_is_one_line_and_the_same_as_when_browsed() {
    let world = World::new().await;
    let firehose = world.context.topics.firehose();
    world.append(&firehose, 3, [record("k", "{\"a\":\r\n  1,\n\"b\":\"\\n\"}", 0)]).await;
    let mut tail = Events::open(&world, &format!("{TAIL}?from=earliest"), None).await;
    let event = tail.next().await.unwrap();
    assert_eq!(event.0.iter().filter(|(name, _)| name == "data").count(), 1);
    let page = world.get("/v1/topics/firehose/records").await.json(200);
    assert_eq!(event.item(), page["items"][0]);
}

#[tokio::test]
async fn a_silent_tail_shows_that_it_is_there() {
    let world = World::new().await;
    let mut tail = Events::open(&world, TAIL, None).await;
    tokio::time::pause();
    let begun = tokio::time::Instant::now();
    let heartbeat = tail.next().await.unwrap();
    assert!(heartbeat.field("").is_some() && heartbeat.field("data").is_none(), "{heartbeat:?}");
    assert_eq!(begun.elapsed().as_secs(), limits::TAIL_HEARTBEAT.as_secs());
}

#[tokio::test]
async fn tails_of_a_tenant_are_bounded_and_a_closed_one_makes_room() {
    let world = World::new().await;
    world.put("/v1/topics/out", "{}").await.json(201);
    let mut tails = Vec::new();
    for _ in 0..limits::TAILS_EACH {
        tails.push(Events::open(&world, "/v1/topics/out/tail", None).await);
    }
    let refused = world.get("/v1/topics/out/tail").await;
    refused.refused(429, "too-many-tails", &[]);
    assert_eq!(refused.headers["retry-after"], "1");
    let said = String::from_utf8_lossy(&refused.body).into_owned();
    assert!(said.contains("the tenant local has 32 tails open"), "{said}");
    tails.pop();
    tails.push(Events::open(&world, "/v1/topics/out/tail", None).await);
}

#[tokio::test]
async fn a_tenant_with_all_its_tails_leaves_others_theirs_until_all_are_taken() {
    let world = World::new().await;
    let opened = async |key: &str| {
        let mut asked = request("GET", TAIL, Body::empty());
        asked.headers_mut().insert("authorization", format!("Bearer {key}").parse().unwrap());
        world.send(asked).await
    };
    let mut tails = Vec::new();
    for tenant in 0..limits::TAILS_MAX / limits::TAILS_EACH {
        let key = world.key(&format!("t{tenant}"), r#"{"scopes":["read"]}"#).await;
        for _ in 0..limits::TAILS_EACH {
            let tail = opened(&key).await;
            assert_eq!(tail.status(), 200, "{tenant}");
            tails.push(tail);
        }
        world.ask(&key, "GET", TAIL, "").await.refused(429, "too-many-tails", &[]);
    }
    let key = world.key("late", r#"{"scopes":["read"]}"#).await;
    world.ask(&key, "GET", TAIL, "").await.refused(503, "unavailable", &[]);
    tails.pop();
    assert_eq!(opened(&key).await.status(), 200);
}

#[tokio::test]
async fn wrong_parameters_are_pointed_at() {
    let world = World::new().await;
    world.get(&format!("{TAIL}?from=now&offset=1")).await.refused(400, "invalid-request", &["/from", "/offset"]);
    world.get("/v1/topics/nowhere/tail").await.refused(404, "not-found", &[]);
}

#[tokio::test]
async fn a_tail_ends_with_its_topic() {
    let world = World::new().await;
    world.put("/v1/topics/out", "{}").await.json(201);
    let mut tail = Events::open(&world, "/v1/topics/out/tail", None).await;
    world.context.log.delete_topic("fpaas.local.t.out").await.unwrap();
    assert!(tail.next().await.is_none());
}

/// Although the log has another one of its name, which goes on further.
#[tokio::test]
async fn a_tail_that_is_not_read_for_a_while_does_not_go_on_in_the_next_topic_of_its_name() {
    let world = World::new().await;
    world.put("/v1/topics/out", "{}").await.json(201);
    let records = |n: i64| (0..n).map(|n| record("k", "{\"n\":1}", n)).collect::<Vec<_>>();
    world.append("fpaas.local.t.out", 0, records(3)).await;
    let mut tail = Events::open(&world, "/v1/topics/out/tail?from=earliest", None).await;
    assert!(tail.next().await.is_some());
    // Nothing is asked of the log meanwhile.
    assert_eq!(world.delete("/v1/topics/out").await.status, 204);
    let mut views = world.context.control.views();
    views.wait_for(|view| view.deleted.is_empty()).await.unwrap();
    world.put("/v1/topics/out", "{}").await.json(201);
    world.append("fpaas.local.t.out", 0, records(9)).await;
    while let Some(event) = tail.next().await {
        assert!(!event.field("id").is_some_and(|id| id.ends_with("-9")), "of the next topic");
    }
}
