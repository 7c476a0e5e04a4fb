//! Putting, reading, listing and deleting subscriptions.

use fpaas_core::subscription::{Secret, SigningKey};
use fpaas_core::{Offset, SubscriptionId, TenantId, Timestamp};
use serde_json::{Value, json};

use crate::world::{HOOK, NOW, World, record};

const LIKES: &str = "/v1/subscriptions/likes";

fn starts(world: &World) -> Vec<Offset> {
    let (tenant, id) = (TenantId::parse("local").unwrap(), SubscriptionId::parse("likes").unwrap());
    world.context.control.view().subscription(&tenant, &id).unwrap().starts.clone()
}

#[tokio::test]
async fn what_is_given_back_has_every_default_and_can_be_put_again() {
    let world = World::new().await;
    let created =
        world.subscribe("likes", r#""filter":{"collections":["app.bsky.feed.like"]},"metadata":{"a":"b"}"#).await;
    assert_eq!(created.headers["location"], LIKES);
    created.json(201);
    let shown = world.get(LIKES).await;
    let expected = json!({
        "id": "likes",
        "source": {"topic": "firehose"},
        "startFrom": "latest",
        "filter": {"kinds": [], "collections": ["app.bsky.feed.like"], "operations": [], "dids": []},
        "collector": {"maxEvents": 100, "maxBytes": 1_048_576, "maxWaitMs": 1000},
        "processor": {"webhook": {"url": "http://127.0.0.1:1/", "format": "json", "timeoutMs": 30000, "headers": {}, "compression": "none", "signing": ["v1"]}},
        "ordering": "key",
        "lanes": 1,
        "retry": {"initialBackoffMs": 1000, "maxBackoffMs": 60000, "maxElapsedMs": 300_000, "onFailure": "retry", "onExhausted": "deadLetter"},
        "throttle": {"eventsPerSecond": null},
        "state": "active",
        "metadata": {"a": "b"},
    });
    assert_eq!(shown.json(200), expected);
    let again = world.put(LIKES, shown.body.clone()).await;
    assert_eq!(again.json(200), expected);
    assert_ne!(again.headers["etag"], shown.headers["etag"]);
}

#[tokio::test]
async fn the_secret_is_in_the_answer_that_creates_and_at_its_own_route_alone() {
    let world = World::new().await;
    let created = world.subscribe("likes", "").await.json(201);
    let secret = created["secret"].as_str().unwrap().to_owned();
    assert!(secret.starts_with("whsec_") && secret.len() == 50, "{secret}");
    let others = [
        world.subscribe("likes", "").await,
        world.get(LIKES).await,
        world.get("/v1/subscriptions").await,
        world.get(&format!("{LIKES}/status")).await,
    ];
    for answer in others {
        let text = answer.json(200).to_string();
        assert!(!text.contains("whsec_") && !text.contains("secret"), "{text}");
    }
    let shown = world.get(&format!("{LIKES}/secret")).await;
    assert_eq!(shown.headers["cache-control"], "no-store");
    assert_eq!(shown.json(200), json!({"secret": secret, "previous": null}));
}

#[tokio::test]
async fn a_secret_that_is_brought_is_kept_and_not_given_back() {
    let world = World::new().await;
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let body = format!(r#"{{"processor":{{"webhook":{{"url":"http://127.0.0.1:1/","secret":"{secret}"}}}}}}"#);
    assert_eq!(world.put(LIKES, body.clone()).await.json(201)["secret"], secret);
    let replaced = world.put(LIKES, body).await;
    assert!(!replaced.json(200).to_string().contains("whsec_"));
    assert_eq!(world.get(&format!("{LIKES}/secret")).await.json(200)["secret"], secret);
}

#[tokio::test]
async fn the_public_keys_are_those_of_the_secrets_that_sign_and_no_secret_is_shown_with_them() {
    let world = World::new().await;
    let path = format!("{LIKES}/publicKey");
    world.get(&path).await.refused(404, "not-found", &[]);
    let own = "whsec_BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH";
    let webhook = format!(r#"{{"url":"http://127.0.0.1:1/","secret":"{own}","signing":["v1a"]}}"#);
    world.put(LIKES, format!(r#"{{"processor":{{"webhook":{webhook}}}}}"#)).await.json(201);
    let key = |secret: &str| SigningKey::of(&Secret::parse(secret).unwrap()).unwrap().public();
    let first = world.get(&path).await.json(200);
    assert_eq!(first, json!({"publicKey": key(own), "previous": null}));
    let rotated = world.post(&format!("{LIKES}:rotateSecret"), "").await;
    let (secret, until) = (rotated.json(200)["secret"].clone(), rotated.json(200)["previous"]["until"].clone());
    let expected = json!({
        "publicKey": key(secret.as_str().unwrap()), "previous": {"publicKey": key(own), "until": until},
    });
    let shown = world.get(&path).await;
    assert_eq!((shown.json(200), &shown.headers["etag"]), (expected, &rotated.headers["etag"]));
}

#[tokio::test]
async fn a_start_becomes_one_offset_per_partition_when_it_is_created() {
    let world = World::new().await;
    let firehose = world.context.topics.firehose();
    world.append(&firehose, 0, (0..3).map(|n| record("k", "{}", n * 1000))).await;
    world.append(&firehose, 15, [record("k", "{}", 5000)]).await;
    let time = fpaas_core::rfc3339::format(Timestamp::from_millis(NOW + 1000));
    for (start, expected) in [("earliest", [0, 0, 0]), ("latest", [3, 0, 1]), (time.as_str(), [1, 0, 0])] {
        world.subscribe("likes", &format!(r#""startFrom":"{start}""#)).await.json(201);
        let starts = starts(&world);
        assert_eq!(starts.len(), 16);
        assert_eq!([starts[0].0, starts[7].0, starts[15].0], expected, "{start}");
        assert_eq!(world.delete(LIKES).await.status, 204);
    }
}

#[tokio::test]
async fn start_from_is_read_at_creation_only() {
    let world = World::new().await;
    world.subscribe("likes", r#""startFrom":"earliest""#).await.json(201);
    let replaced = world.subscribe("likes", r#""startFrom":"latest","collector":{"maxEvents":7}"#).await.json(200);
    assert_eq!(replaced["startFrom"], "earliest");
    assert_eq!(replaced["collector"]["maxEvents"], 7);
}

#[tokio::test]
async fn deleting_removes_it_and_keeps_its_output() {
    let world = World::new().await;
    world.subscribe("likes", r#""output":{"topic":"results"}"#).await.json(201);
    let deleted = world.delete(LIKES).await;
    assert_eq!((deleted.status.as_u16(), deleted.body.len()), (204, 0));
    for path in [LIKES, &format!("{LIKES}/status"), &format!("{LIKES}/secret"), &format!("{LIKES}/deadLetters")] {
        world.get(path).await.refused(404, "not-found", &[]);
    }
    world.delete(LIKES).await.refused(404, "not-found", &[]);
    assert_eq!(world.get("/v1/topics/results").await.json(200)["partitions"], 1);
}

#[tokio::test]
async fn a_list_goes_on_behind_its_cursor_whatever_comes_and_goes() {
    let world = World::new().await;
    for id in ["a", "c", "e", "g"] {
        world.subscribe(id, "").await.json(201);
    }
    let ids = |page: &Value| -> Vec<String> {
        page["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
    };
    let first = world.get("/v1/subscriptions?limit=2").await.json(200);
    assert_eq!(ids(&first), ["a", "c"]);
    world.subscribe("b", "").await.json(201);
    assert_eq!(world.delete("/v1/subscriptions/c").await.status, 204);
    let cursor = first["cursor"].as_str().unwrap();
    assert!(cursor.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte)));
    let second = world.get(&format!("/v1/subscriptions?limit=2&cursor={cursor}")).await.json(200);
    assert_eq!(ids(&second), ["e", "g"]);
    assert_eq!(second["cursor"], Value::Null);
}

#[tokio::test]
async fn what_cannot_change_is_a_conflict() {
    let world = World::new().await;
    world.put("/v1/topics/other", "{}").await.json(201);
    world.subscribe("likes", "").await.json(201);
    world.subscribe("likes", r#""lanes":2,"source":{"topic":"other"}"#).await.refused(
        409,
        "conflict",
        &["/source", "/lanes"],
    );
    // Whether the new one is there is not asked.
    world.subscribe("likes", r#""source":{"topic":"nowhere"}"#).await.refused(409, "conflict", &["/source"]);
    world.put("/v1/topics/like.results", "{}").await.json(201);
    world.subscribe("likes", r#""output":{"topic":"like_results"}"#).await.refused(409, "conflict", &["/output/topic"]);
}

#[tokio::test]
async fn another_tenants_source_and_a_missing_one_are_not_there() {
    let world = World::new().await;
    world.subscribe("likes", r#""source":{"topic":"nowhere"}"#).await.refused(
        400,
        "invalid-request",
        &["/source/topic"],
    );
    world.put("/v1/topics/mine", "{\"partitions\":3}").await.json(201);
    world.subscribe("likes", r#""source":{"topic":"mine"}"#).await.json(201);
    assert_eq!(starts(&world).len(), 3);
}

#[tokio::test]
async fn the_first_subscription_may_read_what_happens_to_all_of_them() {
    let world = World::new().await;
    let body = r#"{"source":{"topic":"system"},"processor":{"webhook":{"url":"http://127.0.0.1:1/"}}}"#;
    let dry = world.put("/v1/subscriptions/alerts?dryRun=true", body).await;
    dry.refused(400, "invalid-request", &["/source/topic"]);
    world.get("/v1/topics/system").await.refused(404, "not-found", &[]);
    world.put("/v1/subscriptions/alerts", body).await.json(201);
    world.put("/v1/subscriptions/alerts?dryRun=true", body).await.json(200);
    // It is nobody's to write to, to change or to delete.
    world.subscribe("likes", r#""output":{"topic":"system"}"#).await.refused(
        400,
        "invalid-request",
        &["/output/topic"],
    );
    world.put("/v1/topics/system", "{}").await.refused(400, "invalid-request", &["/name"]);
    world.delete("/v1/topics/system").await.refused(409, "conflict", &["/name"]);
}

#[tokio::test]
async fn every_wrong_field_is_pointed_at() {
    let world = World::new().await;
    let body = format!(
        r#"{{"id":"other","lane":1,"processor":{HOOK},"filter":{{"match":"a[","kinds":["x"]}},"collector":{{"maxEvents":0}},"source":{{"topic":"x"}}}}"#
    );
    let pointers = ["/filter/kinds/0", "/lane", "/collector/maxEvents", "/id", "/filter/match", "/source/topic"];
    let (name, mut found) = world.put(LIKES, body).await.problem();
    found.sort_unstable();
    let mut expected = pointers.to_vec();
    expected.sort_unstable();
    assert_eq!((name.as_str(), found), ("invalid-request", expected.into_iter().map(str::to_owned).collect()));
    world.get(LIKES).await.refused(404, "not-found", &[]);
}

#[tokio::test]
async fn what_is_not_built_yet_is_refused_and_never_ignored() {
    let world = World::new().await;
    for (fields, pointer) in [
        (r#""throttle":{"eventsPerSecond":0}"#, "/throttle/eventsPerSecond"),
        (r#""ordering":"total""#, "/ordering"),
        (r#""retry":{"onFailure":"split"}"#, "/retry/onFailure"),
    ] {
        world.subscribe("likes", fields).await.refused(400, "invalid-request", &[pointer]);
    }
    for (field, pointer) in [
        (r#""format":"xml""#, "/processor/webhook/format"),
        (r#""compression":"br""#, "/processor/webhook/compression"),
        (r#""payload":"a b""#, "/processor/webhook/payload"),
        (r#""payload":"""#, "/processor/webhook/payload"),
        (r#""signing":[]"#, "/processor/webhook/signing"),
        (r#""signing":["v1","v1a","v1"]"#, "/processor/webhook/signing/2"),
        (r#""signing":["v2"]"#, "/processor/webhook/signing/0"),
        (r#""headers":{"Proxy-Authorization":"x"}"#, "/processor/webhook/headers/Proxy-Authorization"),
        (r#""headers":{"Keep-Alive":"x"}"#, "/processor/webhook/headers/Keep-Alive"),
        (r#""headers":{"expect":"100-continue"}"#, "/processor/webhook/headers/expect"),
        (r#""headers":{"Webhook-Id":"x"}"#, "/processor/webhook/headers/Webhook-Id"),
        (r#""headers":{"FPaaS-Lane":"x"}"#, "/processor/webhook/headers/FPaaS-Lane"),
        (r#""headers":{"accept-encoding":"br"}"#, "/processor/webhook/headers/accept-encoding"),
    ] {
        let webhook = format!(r#"{{"url":"https://a.example/",{field}}}"#);
        let answer = world.put(LIKES, format!(r#"{{"processor":{{"webhook":{webhook}}}}}"#)).await;
        answer.refused(400, "invalid-request", &[pointer]);
    }
    for (processor, pointer) in
        [("{\"jmespath\":{}}", "/processor/jmespath"), ("{\"reduce\":{}}", "/processor/reduce"), ("null", "/processor")]
    {
        let answer = world.put(LIKES, format!(r#"{{"processor":{processor}}}"#)).await;
        answer.refused(400, "not-supported-yet", &[pointer]);
    }
    world.get(LIKES).await.refused(404, "not-found", &[]);
}

#[tokio::test]
async fn of_many_who_create_at_once_one_does() {
    let world = World::new().await;
    let puts = (0..20).map(|_| world.subscribe("likes", ""));
    let mut statuses: Vec<_> =
        futures_util::future::join_all(puts).await.iter().map(|put| put.status.as_u16()).collect();
    statuses.sort_unstable_by(|one, other| other.cmp(one));
    assert_eq!((statuses[0], statuses[1], statuses[19]), (201, 200, 200));
}

#[tokio::test]
async fn a_subscription_is_paused_and_resumed_by_its_state_or_by_an_action() {
    let world = World::new().await;
    world.post(&format!("{LIKES}:pause"), "").await.refused(404, "not-found", &[]);
    world.subscribe("likes", "").await.json(201);
    let state = async || {
        let status = world.get(&format!("{LIKES}/status")).await.json(200);
        (world.get(LIKES).await.json(200)["state"].clone(), status["state"].clone(), status["reason"].clone())
    };
    assert_eq!(state().await, (json!("active"), json!("active"), Value::Null));
    for _ in 0..2 {
        let paused = world.post(&format!("{LIKES}:pause"), "").await;
        assert_eq!(paused.json(200), world.get(LIKES).await.json(200));
        let reason = json!("it is paused; it goes on where it stands once it is resumed");
        assert_eq!(state().await, (json!("paused"), json!("paused"), reason));
    }
    world.post(&format!("{LIKES}:resume"), "").await.json(200);
    assert_eq!(state().await.0, "active");
    world.subscribe("likes", r#""state":"paused""#).await.json(200);
    assert_eq!(state().await.0, "paused");
    // What is put again as it was written does what it says.
    world.subscribe("likes", "").await.json(200);
    assert_eq!(state().await.0, "active");
    world.post(&format!("{LIKES}:dance"), "").await.refused(404, "not-found", &[]);
    for (body, pointer) in [(r#"{"now":true}"#, "/now"), ("[]", ""), ("null", ""), ("{", "")] {
        world.post(&format!("{LIKES}:pause"), body).await.refused(400, "invalid-request", &[pointer]);
        world.post(&format!("{LIKES}:resume"), body).await.refused(400, "invalid-request", &[pointer]);
    }
    assert_eq!(state().await.0, "active");
    world.post(&format!("{LIKES}:pause"), "{}").await.json(200);
    world.post(&format!("{LIKES}:pause?now=1"), "").await.refused(400, "invalid-request", &["/now"]);
}

#[tokio::test]
async fn a_rotated_secret_is_shown_beside_the_new_one_until_its_time_is_over() {
    let world = World::new().await;
    let rotate = format!("{LIKES}:rotateSecret");
    world.post(&rotate, "").await.refused(404, "not-found", &[]);
    let first = world.subscribe("likes", "").await.json(201)["secret"].clone();
    let rotated = world.post(&rotate, "").await;
    let answer = rotated.json(200);
    let second = answer["secret"].clone();
    assert_ne!(first, second);
    assert_eq!(answer["previous"], json!({"secret": first, "until": "2026-11-24T20:00:00.000Z"}));
    assert_eq!(world.get(&format!("{LIKES}/secret")).await.json(200), answer);
    assert_eq!(world.get(LIKES).await.headers["etag"], rotated.headers["etag"]);
    for (header, tag, status) in [
        ("if-none-match", rotated.headers["etag"].clone(), 304),
        ("if-none-match", "\"1\"".parse().unwrap(), 200),
        ("if-match", "\"1\"".parse().unwrap(), 412),
    ] {
        let mut request = crate::world::request("GET", &format!("{LIKES}/secret"), axum::body::Body::empty());
        request.headers_mut().insert(header, tag);
        assert_eq!(world.call(request).await.status, status, "{header}");
    }

    let own = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let asked = json!({"secret": own, "overlapMs": 0}).to_string();
    assert_eq!(world.post(&rotate, asked.clone()).await.json(200), json!({"secret": own, "previous": null}));
    world.post(&rotate, asked).await.refused(409, "conflict", &["/secret"]);
    let wrong = json!({"secret": "x", "overlapMs": 604_800_001, "now": true}).to_string();
    world.post(&rotate, wrong).await.refused(400, "invalid-request", &["/now", "/secret", "/overlapMs"]);
}
