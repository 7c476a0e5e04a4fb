//! `/metrics` as a scraper sees it. That the page in the docs lists exactly what is served is tested with the program.

use std::sync::Arc;

use axum::body::Body;
use fpaas_api::{Family, Kind, Labels, Sources};
use fpaas_core::topics::Stage;
use fpaas_core::{Partition, SubscriptionId};
use fpaas_testkit::openmetrics::{Families, Sample, parse};
use http::Request;

use crate::world::{KEY, World, config, record, request};

const PATH: &str = "/metrics";

fn bare() -> Request<Body> {
    Request::get(PATH).body(Body::empty()).unwrap()
}

async fn scrape(world: &World) -> Families {
    let answer = world.call(bare()).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers["content-type"], "application/openmetrics-text; version=1.0.0; charset=utf-8");
    parse(std::str::from_utf8(&answer.body).unwrap()).unwrap()
}

#[tokio::test]
async fn counts_of_the_board_and_lags_of_the_log_are_served_by_subscription() {
    let world = World::new().await;
    world.append(&world.context.topics.firehose(), 3, [record("did:x:y", "{}", 0)]).await;
    world.subscribe("likes", r#""startFrom":"earliest""#).await.json(201);
    world.subscribe("posts", "").await.json(201);
    let entry = |id| {
        let (view, id) = (world.context.control.view(), SubscriptionId::parse(id).unwrap());
        Arc::clone(view.subscription(&config().tenant, &id).unwrap())
    };
    let likes = entry("likes");
    let counters = world.context.board.of(&likes.tenant, &likes.id, likes.incarnation);
    counters.matched.add(7);
    counters.lost.add(3);
    counters.note_stopped(Stage::Router, Partition(0), "its source is gone");
    let served = scrape(&world).await;
    let of = |family: &str, id| served[family].value(&[("tenant", "local"), ("subscription", id)]);
    assert_eq!(
        (of("fpaas_router_matched_records", "likes"), of("fpaas_lost_offsets", "likes")),
        (Some(7.0), Some(3.0))
    );
    assert_eq!(
        (of("fpaas_router_matched_records", "posts"), of("fpaas_lost_offsets", "posts")),
        (Some(0.0), Some(0.0))
    );
    assert_eq!(
        (of("fpaas_subscription_stopped", "likes"), of("fpaas_subscription_stopped", "posts")),
        (Some(1.0), Some(0.0))
    );
    let lag = |id, of| served["fpaas_subscription_lag"].value(&[("subscription", id), ("of", of)]);
    assert_eq!((lag("likes", "source"), lag("likes", "deliveries")), (Some(1.0), Some(0.0)));
    assert_eq!(served["fpaas_build"].value(&[("version", "1.2.3"), ("commit", "abcdef")]), Some(1.0));
    world.delete("/v1/subscriptions/likes").await;
    assert_eq!(scrape(&world).await["fpaas_lost_offsets"].value(&[("subscription", "likes")]), None);
}

#[tokio::test]
async fn requests_are_counted_by_route_and_not_by_what_stands_in_the_path() {
    let world = World::new().await;
    for path in ["/v1/topics/firehose", "/v1/topics/a", "/v1/topics/b", "/nowhere/1", "/nowhere/2"] {
        world.get(path).await;
    }
    let odd = world.call(request("BREW", "/v1/topics/firehose", Body::empty())).await;
    assert_eq!(odd.status, 405);
    let served = scrape(&world).await;
    let count = |labels: &[_]| served["fpaas_api_requests"].value(labels);
    let route = ("route", "/v1/topics/{name}");
    assert_eq!(count(&[route, ("method", "GET"), ("status", "2xx")]), Some(1.0));
    assert_eq!(count(&[route, ("method", "GET"), ("status", "4xx")]), Some(2.0));
    assert_eq!(count(&[route, ("method", "other"), ("status", "4xx")]), Some(1.0));
    assert_eq!(count(&[("route", "none"), ("status", "4xx")]), Some(2.0));
    assert_eq!(served["fpaas_api_requests"].samples.len(), 4);
    let took = &served["fpaas_api_request_duration_seconds"];
    let is_count = |sample: &&Sample| sample.name.ends_with("_count") && sample.labels["method"] == "GET";
    let counts: Vec<_> = took.samples.iter().filter(is_count).filter(|it| it.labels["route"] == route.1).collect();
    assert_eq!(counts.iter().map(|sample| sample.value).collect::<Vec<_>>(), [3.0]);
    assert_eq!(took.labels().into_iter().collect::<Vec<_>>(), ["method", "route"]);
}

#[tokio::test]
async fn where_they_are_not_open_the_numbers_need_the_key() {
    let closed = fpaas_api::Config { open_metrics: false, ..config() };
    let world = World::new().await.configured(closed);
    world.call(bare()).await.refused(401, "unauthorized", &[]);
    assert_eq!(world.get(PATH).await.status, 200);
    let text = String::from_utf8(world.get(PATH).await.body.to_vec()).unwrap();
    assert!(!text.contains(KEY));
}

#[tokio::test]
async fn what_other_stages_count_is_asked_for_at_every_scrape() {
    let asked = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let source = move || {
        let labels: Labels = Arc::new([("reason", "a \"quoted\"\nreason \\".to_owned())]);
        let times = asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        vec![Family::new("asked", Kind::Counter, "How often").with(&labels, times)]
    };
    let config = fpaas_api::Config { sources: Sources::default().with(source), ..config() };
    let world = World::new().await.configured(config);
    for times in [0.0, 1.0] {
        assert_eq!(scrape(&world).await["asked"].value(&[("reason", "a \"quoted\"\nreason \\")]), Some(times));
    }
}

#[tokio::test]
async fn a_log_that_fails_costs_the_lags_and_nothing_else() {
    let world = World::new().await;
    world.subscribe("likes", "").await.json(201);
    world.log.close().unwrap();
    let served = scrape(&world).await;
    assert_eq!(served["fpaas_subscription_lag"].samples.len(), 0);
    assert_eq!(served["fpaas_webhook_calls"].samples.len(), 1);
}
