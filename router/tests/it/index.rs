//! The index says what the plain filters say, whatever the subscriptions and whatever the record.

use std::sync::Arc;

use fpaas_core::subscription::{Filter as FilterConfig, Secret, Subscription};
use fpaas_core::topics::Topics;
use fpaas_core::{HeadersBuilder, Incarnation, PoolId, SubscriptionId, TenantId, Timestamp};
use fpaas_expression::Facts;
use fpaas_log::Record;
use fpaas_router::{Candidates, Index, Member};
use fpaas_state::{Board, SubscriptionEntry};
use proptest::prelude::*;
use proptest::sample::subsequence;
use serde_json::json;

const COLLECTIONS: [&str; 5] =
    ["app.bsky.feed.like", "app.bsky.feed.post", "app.bsky.graph.follow", "app.bsky.feedx.y", "a.b.c"];
const PATTERNS: [&str; 8] = [
    "app.bsky.feed.like",
    "app.bsky.feed.post",
    "a.b.c",
    "app.bsky.feed.*",
    "app.bsky.*",
    "app.*",
    "a.b.c.*",
    "app.bsky.feed.like.*",
];
const DIDS: [&str; 3] = ["did:plc:a", "did:plc:b", "did:web:c.example"];
const KINDS: [&str; 4] = ["commit", "identity", "account", "sync"];
const OPERATIONS: [&str; 3] = ["create", "update", "delete"];

fn some(of: &'static [&'static str]) -> impl Strategy<Value = Vec<&'static str>> {
    prop_oneof![2 => Just(vec![]), 3 => subsequence(of.to_vec(), 0..=of.len())]
}

fn filters() -> impl Strategy<Value = FilterConfig> {
    (some(&KINDS), some(&PATTERNS), some(&OPERATIONS), some(&DIDS)).prop_map(
        |(kinds, collections, operations, dids)| {
            let filter = json!({"kinds": kinds, "collections": collections, "operations": operations, "dids": dids});
            serde_json::from_value(filter).unwrap()
        },
    )
}

fn records() -> impl Strategy<Value = Record> {
    let any_of =
        |of: &'static [&'static str]| prop_oneof![1 => Just(None), 6 => proptest::sample::select(of).prop_map(Some)];
    (any_of(&KINDS), any_of(&COLLECTIONS), any_of(&OPERATIONS), any_of(&DIDS)).prop_map(
        |(kind, collection, operation, did)| {
            let named = [("kind", kind), ("collection", collection), ("operation", operation)];
            let headers = named.iter().filter_map(|(name, value)| Some((name, (*value)?)));
            let headers =
                headers.fold(HeadersBuilder::new(), |headers, (name, value)| headers.with(name, value)).build();
            Record { key: did.map(Into::into), headers, ..Record::default() }
        },
    )
}

fn member(number: usize, filter: FilterConfig) -> Arc<Member> {
    let tenant = TenantId::parse("acme").unwrap();
    let entry = SubscriptionEntry {
        pool: PoolId::of_tenant(&tenant),
        tenant,
        id: SubscriptionId::parse(&format!("s{number}")).unwrap(),
        incarnation: Incarnation(1),
        revision: 1,
        created: Timestamp::default(),
        updated: Timestamp::default(),
        active_since: Timestamp::default(),
        config: Subscription { filter, ..Subscription::default() },
        secret: Secret::from_bytes(&[7; 24]).unwrap(),
        previous: None,
        client_key: None,
        starts: vec![],
        replay: None,
        redrive: None,
        disabled: None,
        came: None,
        in_use: Arc::default(),
    };
    Arc::new(Member::new(&Arc::new(entry), &Topics::default(), &Board::default()))
}

/// The filter as the design says it, read from the configuration alone.
fn naive(filter: &FilterConfig, record: &Record) -> bool {
    let header = |name| record.headers.get_str(name);
    let commits = !filter.collections.is_empty() || !filter.operations.is_empty();
    let collection_matches = |pattern: &String| {
        header("collection").is_some_and(|name| match pattern.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => name == pattern,
        })
    };
    let did = header("kind").and(record.key.as_deref());
    (!commits || header("kind") == Some("commit"))
        && (filter.kinds.is_empty() || filter.kinds.iter().any(|kind| header("kind") == Some(kind.as_str())))
        && (filter.collections.is_empty() || filter.collections.iter().any(collection_matches))
        && (filter.operations.is_empty()
            || filter.operations.iter().any(|one| header("operation") == Some(one.as_str())))
        && (filter.dids.is_empty() || filter.dids.iter().any(|one| did == Some(one.as_str().as_bytes())))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn the_index_admits_what_the_filters_admit(
        configs in proptest::collection::vec(filters(), 0..12),
        records in proptest::collection::vec(records(), 1..12),
    ) {
        let members = configs.iter().cloned().enumerate().map(|(number, filter)| member(number, filter));
        let index = Index::new(members.collect());
        let mut candidates = Candidates::default();
        for record in &records {
            let facts = Facts::of(record.key.as_deref(), &record.headers);
            let expected: Vec<u32> =
                (0u32..).zip(&configs).filter(|(_, filter)| naive(filter, record)).map(|(number, _)| number).collect();
            prop_assert_eq!(index.admitted(&facts, &mut candidates), &expected[..], "{:?}", record);
            let plain: Vec<bool> = index.members().iter().map(|member| member.filter.admits(&facts)).collect();
            let plain: Vec<u32> = (0u32..).zip(plain).filter(|(_, admits)| *admits).map(|(number, _)| number).collect();
            prop_assert_eq!(plain, expected);
        }
    }
}

#[test]
fn a_thousand_subscriptions_that_want_something_else_are_hardly_noticed() {
    let like = Record {
        key: Some("did:plc:a".into()),
        headers: HeadersBuilder::new()
            .with("kind", "commit")
            .with("collection", "app.bsky.feed.like")
            .with("operation", "create")
            .build(),
        ..Record::default()
    };
    let others = |number: usize| match number % 4 {
        0 => json!({"dids": [format!("did:plc:x{number}")]}),
        1 => json!({"collections": [format!("com.example.n{number}")]}),
        2 => json!({"collections": ["app.bsky.feed.like"], "operations": ["delete"]}),
        _ => json!({"collections": [format!("com.example{number}.*")], "kinds": ["commit"]}),
    };
    let members = (0..1000).map(|number| member(number, serde_json::from_value(others(number)).unwrap()));
    let wanted = member(1000, serde_json::from_value(json!({"collections": ["app.bsky.feed.*"]})).unwrap());
    let many = Index::new(members.chain([Arc::clone(&wanted)]).collect());
    let mut candidates = Candidates::default();
    assert_eq!(many.admitted(&Facts::of(like.key.as_deref(), &like.headers), &mut candidates), [1000]);
}
