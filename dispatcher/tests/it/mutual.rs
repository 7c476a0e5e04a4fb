//! Endpoints that want to know who calls, by a certificate that each subscription shows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use fpaas_core::subscription::{ClientCertificate, Subscription};
use fpaas_core::{Offset, TenantId, TopicPartition};
use fpaas_dispatcher::Trials;
use fpaas_log::{Log as _, Stored, Transaction};
use fpaas_state::{Change, Command, Outcome, Trial};
use serde_json::{Value, json};

use crate::reports::logged;
use crate::support::receiver::Receiver;
use crate::support::{World, config, dispatch_for, event, likes, pool_of, secret, subscription, tenant, tls_file};

static PATIENT: LazyLock<Value> = LazyLock::new(|| json!({"initialBackoffMs": 300, "maxBackoffMs": 3000}));

fn text(name: &str) -> String {
    std::fs::read_to_string(tls_file(name)).unwrap()
}

/// A subscription's fields that show a certificate.
fn showing(name: &str) -> Value {
    let certificate = json!({"certificate": text(&format!("{name}.pem")), "privateKey": text(&format!("{name}.key"))});
    // Few calls, so that the breaker stays closed.
    json!({"processor": {"webhook": {"clientCertificate": certificate}}, "retry": PATIENT.clone()})
}

fn fingerprint(name: &str) -> Option<String> {
    ClientCertificate { certificate: text(&format!("{name}.pem")), private_key: None }.fingerprint()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_wants_a_certificate_is_called_again_until_it_is_shown_the_right_one() {
    let folder = tempfile::tempdir().unwrap();
    let (mut world, mut receiver) = (World::open(folder.path()).await, Receiver::mutual().await);
    world.put(subscription(&receiver.url, &json!({"retry": PATIENT.clone()}))).await;
    world.deliver(0..2).await;
    let failed = logged(&world, 2).await;
    for (of, attempt) in failed.iter().zip(1..) {
        assert_eq!((of.attempt, of.status, of.outcome.as_str(), of.events), (attempt, None, "connect", 2));
        assert!(of.message.contains("the endpoint wants a client certificate"), "{of:?}");
    }
    world.put(subscription(&receiver.url, &showing("client-expired"))).await;
    let expired = async {
        while !logged(&world, 3).await.iter().any(|of| of.message.contains("it has expired")) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(crate::support::PATIENCE, expired).await.expect("the expired one is tried");
    assert_eq!(receiver.requests().len(), 0);

    world.put(subscription(&receiver.url, &showing("client-acme"))).await;
    let taken = receiver.request().await;
    assert_eq!((taken.shown.clone(), taken.events().len()), (fingerprint("client-acme"), 2));
    assert_eq!(taken.headers["webhook-id"], failed[0].batch, "it is the batch that failed");
    // The next call shows the next one, though a connection of the one before is there.
    world.read(&world.results(), 2).await;
    world.put(subscription(&receiver.url, &showing("client-acme-next"))).await;
    world.deliver(2..3).await;
    assert_eq!(receiver.request().await.shown, fingerprint("client-acme-next"));
    world.read(&world.results(), 3).await;
    let end =
        world.log.watermarks(&TopicPartition::new(world.context.topics.attempts(&tenant()), 0)).await.unwrap().end;
    for of in logged(&world, usize::try_from(end.0).unwrap()).await {
        let of = format!("{of:?}");
        assert!(!of.contains("BEGIN") && !of.contains(text("client-acme.key").lines().nth(1).unwrap()), "{of}");
    }
    world.stop().await;
}

async fn submit(world: &World, tenant: &TenantId, id: &str, change: Change) -> Outcome {
    let now = fpaas_core::Timestamp::from_millis(1_700_000_000_000);
    let command = Command::new(format!("{tenant}/{id}"), now, tenant.clone(), change);
    world.context.control.submit(command).await.unwrap().outcome
}

async fn deliver(world: &World, tenant: &TenantId, number: u32) {
    let made = world.context.control.view().subscription(tenant, &likes()).unwrap().incarnation;
    let at = TopicPartition::new(world.context.topics.deliveries(tenant, &likes(), made), 0);
    let mut transaction = Transaction::new();
    transaction.append(at, event(number));
    world.log.writer("router", None).await.unwrap().commit(transaction).await.unwrap();
}

fn put(subscription: Subscription) -> Change {
    Change::PutSubscription { id: likes(), subscription, secret: secret(), starts: Vec::new() }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_tenants_of_one_pool_that_call_one_host_show_it_each_their_own_on_connections_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let (world, mut receiver) = (World::idle(folder.path(), |_| {}).await, Receiver::mutual().await);
    let running = dispatch_for(&world.context, "_free", &world.shutdown);
    let names = [("acme", "client-acme"), ("umbrella", "client-umbrella")];
    for (name, certificate) in names {
        let tenant = TenantId::parse(name).unwrap();
        submit(&world, &tenant, "make", Change::PutTenant { pool: Some(pool_of("_free")) }).await;
        let subscription = subscription(&format!("{}&of={name}", receiver.url), &showing(certificate));
        assert_eq!(submit(&world, &tenant, "put", put(subscription)).await, Outcome::Created);
    }
    let (mut shown, mut connections) = (BTreeMap::<_, BTreeSet<_>>::new(), BTreeMap::<_, BTreeSet<_>>::new());
    for number in 0..4 {
        for (name, _) in names {
            deliver(&world, &TenantId::parse(name).unwrap(), number).await;
            let request = receiver.request().await;
            let of = request.path.rsplit('=').next().unwrap().to_owned();
            assert_eq!(of, name);
            shown.entry(of.clone()).or_default().insert(request.shown);
            connections.entry(of).or_default().insert(request.connection);
        }
    }
    for (name, certificate) in names {
        assert_eq!(shown[name], [fingerprint(certificate)].into(), "{name}");
    }
    assert!(connections.values().all(|of| of.len() == 1) && connections["acme"] != connections["umbrella"]);
    world.shutdown.cancel();
    running.await.unwrap().unwrap();
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_tried_shows_the_certificate_too() {
    let folder = tempfile::tempdir().unwrap();
    let (mut world, mut receiver) = (World::idle(folder.path(), |_| {}).await, Receiver::mutual().await);
    world.put(subscription(&receiver.url, &showing("client-umbrella"))).await;
    let trials = Trials::new(world.context.clone(), &config()).unwrap();
    let entry = Arc::clone(world.context.control.view().subscription(&tenant(), &likes()).unwrap());
    let events = vec![Stored { offset: Offset(0), record: event(0) }];
    let trial = Trial { entry, random: "0".repeat(32), at: world.lane(0), events };
    let tried = trials.call(trial).await.unwrap();
    assert_eq!((tried.status, tried.outcome), (Some(200), "acknowledged"));
    assert_eq!(receiver.request().await.shown, fingerprint("client-umbrella"));
    world.stop().await;
}
