//! What a Kafka cluster refuses concerns the subscription that it is refused to: each has a clear outcome, and another
//! one of the same pool that is made beside it gets everything.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use fpaas_testkit::broker::{Options, Which};
use fpaas_testkit::{Broker, Client, Dev, dev};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{KEY, LONG, Place, recording};

const USER: &str = "fpaas";
/// Likes that were created in the recording.
const LIKES: usize = 719;
const ACLS: &str = "org.apache.kafka.tools.AclCommand";
const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";
const CONFIGS: &str = "kafka.admin.ConfigCommand";

/// A node on a broker that asks who somebody is; what has no rules there is open to all.
struct Scene {
    broker: Broker,
    place: Place,
    node: dev::Running,
}

impl Scene {
    async fn open() -> Result<Option<Self>> {
        let login = "org.apache.kafka.common.security.plain.PlainLoginModule required user_fpaas=\"secret\";";
        let options = Options::default()
            .only(Which::Jars)
            .security("SASL_PLAINTEXT")
            .property("listener.name.client.sasl.enabled.mechanisms", "PLAIN")
            .property("listener.name.client.plain.sasl.jaas.config", login)
            .property("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer")
            .property("super.users", "User:ANONYMOUS")
            .property("allow.everyone.if.no.acl.found", "true");
        let Some(broker) = Broker::start(&options).await else { return Ok(None) };
        let place = Place::new().await?;
        let mut node = Dev::new(place.folder.path(), KEY)?.upstream(recording("max"));
        node = node.arg("--log").arg(format!("kafka://{}", broker.bootstrap())).arg("--topic-prefix").arg("guarded");
        for property in
            ["security.protocol=SASL_PLAINTEXT", "sasl.mechanism=PLAIN", "sasl.username=fpaas", "sasl.password=secret"]
        {
            node = node.arg("--kafka-property").arg(property);
        }
        let node = node.start().await?;
        Ok(Some(Self { broker, place, node }))
    }

    fn api(&self) -> &Client {
        &self.node.api
    }

    /// Subscribes to the readings of the recording, of which there are few.
    async fn put(&self, id: &str, output: &str) -> Result<()> {
        self.put_for(id, output, "org.example.weather.reading").await
    }

    async fn put_for(&self, id: &str, output: &str, collection: &str) -> Result<()> {
        let subscription = json!({
            "startFrom": "earliest",
            "filter": {"collections": [collection], "operations": ["create"]},
            "collector": {"maxEvents": 100, "maxWaitMs": 50},
            "processor": {"webhook": {"url": self.place.receiver.url(), "secret": crate::SECRET}},
            "output": {"topic": output},
        });
        self.insist(&format!("/v1/subscriptions/{id}"), &subscription).await
    }

    /// On a slow machine a change may take longer than a request waits for it: it does no harm to ask again.
    async fn insist(&self, path: &str, body: &Value) -> Result<()> {
        let asked = async {
            loop {
                let reply = self.api().send(Method::PUT, path, Some(body)).await?;
                if reply.status != 503 {
                    return reply.ok().map(drop);
                }
            }
        };
        tokio::time::timeout(LONG * 2, asked).await.with_context(|| format!("PUT {path}"))?
    }

    async fn status(&self, id: &str) -> Result<Value> {
        self.api().get(&format!("/v1/subscriptions/{id}/status")).await
    }

    /// Its status, as soon as it is as it must become.
    async fn until(&self, id: &str, is_right: impl Fn(&Value) -> bool) -> Result<Value> {
        let mut last = Value::Null;
        let waited = tokio::time::timeout(LONG * 2, async {
            loop {
                last = self.status(id).await?;
                if is_right(&last) {
                    return anyhow::Ok(());
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        });
        waited.await.with_context(|| format!("{id} stays at {last}"))??;
        Ok(last)
    }

    /// All that matched became this, and nothing else.
    async fn all_become(&self, id: &str, counter: &str) -> Result<Value> {
        let of = |status: &Value, name: &str| at(status, &format!("/counters/{name}")).as_u64().unwrap_or(0);
        let is_right = |status: &Value| {
            let matched = of(status, "matched");
            status["lag"] == json!({"source": 0, "deliveries": 0, "redrive": 0})
                && matched > 0
                && matched == of(status, counter)
        };
        self.until(id, is_right).await
    }

    /// Another subscription of the same pool is made now, and gets everything once.
    async fn another_gets_everything(&self, id: &str) -> Result<()> {
        self.put_for(id, id, "app.bsky.feed.like").await?;
        self.all_become(id, "acknowledged").await?;
        let results = self.api().records(id).await?.len();
        ensure!(results == LIKES, "{id} has {results} results");
        Ok(())
    }

    async fn allow_only(&self, resource: &[&str], operations: &[&str]) -> Result<()> {
        let user = format!("User:{USER}");
        let mut arguments = [&["--add", "--allow-principal", &user][..], resource].concat();
        operations.iter().for_each(|operation| arguments.extend(["--operation", operation]));
        self.broker.tool(ACLS, &arguments).await
    }

    async fn limit(&self, topic: &str, bytes: &str) -> Result<()> {
        let limit = format!("max.message.bytes={bytes}");
        let topic = ["--alter", "--entity-type", "topics", "--entity-name", topic, "--add-config", &limit];
        self.broker.tool(CONFIGS, &topic).await
    }

    /// Makes internal topics of the subscription that will be made next `after` another, with a limit of their own.
    async fn make_small(&self, kind: &str, id: &str, after: &str) -> Result<()> {
        // Any revision at which it may come to be.
        let last = at(&self.status(after).await?, "/revision").as_u64().context("a revision")?;
        for revision in last + 1..last + 4 {
            let name = format!("guarded.local.{kind}.{id}.{revision}");
            let small = ["--create", "--topic", &name, "--partitions", "1", "--config", "max.message.bytes=150"];
            self.broker.tool(TOPICS, &small).await?;
        }
        Ok(())
    }

    async fn end(mut self) -> Result<()> {
        ensure!(self.node.process.stop(LONG).await?.success(), "{}", self.node.process.lines().join("\n"));
        Ok(())
    }
}

fn says(status: &Value, what: &str) -> bool {
    at(status, "/lastOutcome/message").as_str().is_some_and(|message| message.contains(what))
}

/// What is there, or null.
fn at(value: &Value, pointer: &str) -> Value {
    value.pointer(pointer).cloned().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn results_that_an_output_topic_does_not_take_are_dead_letters_and_others_get_theirs() -> Result<()> {
    let Some(scene) = Scene::open().await? else { return Ok(()) };
    for topic in ["closed", "small", "gone"] {
        scene.insist(&format!("/v1/topics/{topic}"), &json!({"partitions": 2})).await?;
    }
    scene.allow_only(&["--topic", "guarded.local.t.closed"], &["Describe", "Read"]).await?;
    scene.put("closed", "closed").await?;
    let status = scene.all_become("closed", "deadLetters").await?;
    ensure!(says(&status, "not authorised") && status["state"] == "active", "{status}");
    scene.another_gets_everything("beside-closed").await?;

    scene.limit("guarded.local.t.small", "100").await?;
    scene.put("small", "small").await?;
    let status = scene.all_become("small", "deadLetters").await?;
    ensure!(says(&status, "too large") && status["state"] == "active", "{status}");
    scene.another_gets_everything("beside-small").await?;

    scene.broker.tool(TOPICS, &["--delete", "--topic", "guarded.local.t.gone"]).await?;
    scene.put("gone", "gone").await?;
    let status = scene.all_become("gone", "deadLetters").await?;
    ensure!(says(&status, "no"), "{status}");
    scene.another_gets_everything("beside-gone").await?;
    scene.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_that_are_refused_concern_their_subscription_and_others_get_theirs() -> Result<()> {
    let Some(scene) = Scene::open().await? else { return Ok(()) };
    scene.another_gets_everything("beside").await?;
    let shut = ["--topic", "guarded.local.d.shut.", "--resource-pattern-type", "prefixed"];
    scene.allow_only(&shut, &["Describe", "Read", "Create"]).await?;
    scene.put("shut", "results").await?;
    let status = scene.until("shut", |status| status["state"] == "stopped").await?;
    ensure!(status["reason"] == "a delivery was refused: not authorised", "{status}");
    scene.another_gets_everything("beside-shut").await?;

    // Too large for its deliveries: a dead letter.
    scene.make_small("d", "large", "beside-shut").await?;
    scene.put("large", "results").await?;
    scene.all_become("large", "deadLetters").await?;
    scene.another_gets_everything("beside-large").await?;
    scene.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_may_not_be_made_stops_its_subscription_until_it_may_be() -> Result<()> {
    let Some(scene) = Scene::open().await? else { return Ok(()) };
    // Nobody makes topics in general; everybody may make one that has no rules.
    let cluster = ["--add", "--cluster", "--allow-principal", "User:another", "--operation", "Create"];
    scene.broker.tool(ACLS, &cluster).await?;
    scene.allow_only(&["--topic", "guarded.local.t.unmade"], &["Describe"]).await?;
    let mut put = scene.api().send(Method::PUT, "/v1/topics/unmade", Some(&json!({"partitions": 1}))).await?;
    while put.status == 503 && put.body["detail"].as_str().is_some_and(|detail| detail.contains("not applied in time"))
    {
        put = scene.api().send(Method::PUT, "/v1/topics/unmade", Some(&json!({"partitions": 1}))).await?;
    }
    let said = put.body["detail"].as_str().unwrap_or_default();
    ensure!(put.status == 503 && said.contains("guarded.local.t.unmade") && said.contains("give the user"), "{put:?}");
    scene.put("unmade", "unmade").await?;
    let status = scene.until("unmade", |status| status["state"] == "stopped").await?;
    ensure!(status["reason"].as_str().is_some_and(|reason| reason.contains("give the user")), "{status}");
    scene.another_gets_everything("beside").await?;

    scene.broker.tool(ACLS, &["--remove", "--force", "--topic", "guarded.local.t.unmade"]).await?;
    let status = scene.all_become("unmade", "acknowledged").await?;
    ensure!(status["state"] == "active", "{status}");
    ensure!(scene.api().records("unmade").await?.len() as u64 == status["counters"]["matched"], "{status}");
    scene.end().await
}
