//! A log in a folder of its own, the view that follows it, and the routes over both.

use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use fpaas_api::{ApiKey, Config, Messages, Phase, Sources, Webhooks};
use fpaas_core::topics::Topics;
use fpaas_core::{Clock, HeadersBuilder, ManualClock, TenantId, Timestamp, TopicName, TopicPartition};
use fpaas_log::{Embedded, EmbeddedConfig, Fsync, Log, Record, Stored, TopicSpec, Transaction, Writer};
use fpaas_state::{Board, Context, Control, Timings, Trial, Tried, TriedRecord};
use fpaas_testkit::contract::{Contract, Exchange};
use http::{HeaderMap, Request, StatusCode};
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

pub(crate) const KEY: &str = "a-key-of-this-test";
pub(crate) const HOOK: &str = r#"{"webhook":{"url":"http://127.0.0.1:1/"}}"#;
/// 2026-11-23T20:00:00Z.
pub(crate) const NOW: i64 = 1_795_464_000_000;

/// Every answer is one that the OpenAPI document allows.
pub(crate) static CONTRACT: LazyLock<Contract> = LazyLock::new(|| Contract::new(fpaas_api::OPENAPI.clone()));

pub(crate) struct World {
    pub(crate) context: Context,
    pub(crate) routes: Router,
    pub(crate) log: Arc<Embedded>,
    pub(crate) phase: watch::Sender<Phase>,
    pub(crate) writer: Arc<dyn Writer>,
    pub(crate) clock: Arc<ManualClock>,
    _tasks: JoinSet<()>,
    _folder: TempDir,
}

/// What a request was answered.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl World {
    /// With a firehose of 16 partitions and gaps in the offsets.
    pub(crate) async fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let manual = Arc::new(ManualClock::at_micros(NOW * 1000));
        let clock: Arc<dyn Clock> = Arc::clone(&manual) as Arc<dyn Clock>;
        let settings =
            EmbeddedConfig { fsync: Fsync::Never, gap_every: Some(5), ..EmbeddedConfig::new(Arc::clone(&clock)) };
        let embedded = Embedded::open(folder.path(), settings).unwrap();
        let log: Arc<dyn Log> = Arc::clone(&embedded) as Arc<dyn Log>;
        let topics = Topics::default();
        log.create_topic(&topics.firehose(), &TopicSpec::kept(16)).await.unwrap();
        let control = Control::open(Arc::clone(&log), topics.clone(), "node").await.unwrap();
        let writer = log.writer("test", None).await.unwrap();
        let context = Context { log, topics, control, board: Arc::new(Board::default()), clock, node: "node".into() };
        let tasks = follow(&context).await;
        let (phase, watching) = watch::channel(Phase::Ready);
        let routes = fpaas_api::routes(context.clone(), config(), watching);
        Self { context, routes, log: embedded, phase, writer, clock: manual, _tasks: tasks, _folder: folder }
    }

    /// The same with other settings.
    pub(crate) fn configured(mut self, config: Config) -> Self {
        self.routes = fpaas_api::routes(self.context.clone(), config, self.phase.subscribe());
        self
    }

    /// Any request, as it is.
    pub(crate) async fn send(&self, request: Request<Body>) -> Response {
        self.routes.clone().oneshot(request).await.unwrap()
    }

    pub(crate) async fn call(&self, request: Request<Body>) -> Answer {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let (parts, body) = self.send(request).await.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        let content_type = parts.headers.get("content-type").map(|value| value.to_str().unwrap());
        let (method, path, status) = (method.as_str(), path.as_str(), parts.status.as_u16());
        let headers = parts.headers.keys().map(http::HeaderName::as_str).collect();
        CONTRACT.check(&Exchange { method, path, status, content_type, headers, body: &body }).unwrap();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call(request("GET", path, Body::empty())).await
    }

    pub(crate) async fn put(&self, path: &str, body: impl Into<Body>) -> Answer {
        self.call(request("PUT", path, body.into())).await
    }

    pub(crate) async fn patch(&self, path: &str, body: impl Into<Body>) -> Answer {
        self.call(request("PATCH", path, body.into())).await
    }

    pub(crate) async fn post(&self, path: &str, body: impl Into<Body>) -> Answer {
        self.call(request("POST", path, body.into())).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.call(request("DELETE", path, Body::empty())).await
    }

    /// A request of whoever has this key.
    pub(crate) async fn ask(&self, key: &str, method: &str, path: &str, body: &str) -> Answer {
        let mut request = request(method, path, Body::from(body.to_owned()));
        request.headers_mut().insert("authorization", format!("Bearer {key}").parse().unwrap());
        self.call(request).await
    }

    /// A new key of a tenant, which is made if it is not there.
    pub(crate) async fn key(&self, tenant: &str, body: &str) -> String {
        let path = format!("/v1/admin/tenants/{tenant}");
        assert!(self.put(&path, "{}").await.status.is_success());
        let made = self.post(&format!("{path}/keys"), body.to_owned()).await.json(201);
        made["key"].as_str().unwrap().to_owned()
    }

    /// A subscription with these fields beside a webhook.
    pub(crate) async fn subscribe(&self, id: &str, fields: &str) -> Answer {
        let body = format!(r#"{{"processor":{HOOK}{}{fields}}}"#, if fields.is_empty() { "" } else { "," });
        self.put(&format!("/v1/subscriptions/{id}"), body).await
    }

    /// Records of one partition.
    pub(crate) async fn append(&self, topic: &str, partition: u32, values: impl IntoIterator<Item = Record>) {
        let mut transaction = Transaction::new();
        for record in values {
            transaction.append(TopicPartition::new(topic, partition), record);
        }
        self.writer.commit(transaction).await.unwrap();
    }
}

pub(crate) fn config() -> Config {
    Config {
        tenant: TenantId::parse("local").unwrap(),
        key: ApiKey::new(KEY),
        allow_http: true,
        version: "1.2.3".to_owned(),
        commit: "abcdef".to_owned(),
        open_metrics: true,
        sources: Sources::default(),
        messages: messages(),
        webhooks: Webhooks::new(|trial| Box::pin(async move { Some(tried(&trial)) })),
    }
}

/// Takes whatever has no space in it.
fn messages() -> Messages {
    let filter = Arc::new(std::sync::Mutex::new("info".to_owned()));
    let said = Arc::clone(&filter);
    let set = move |text: &str| {
        if text.contains(' ') {
            return Err("must be a filter".to_owned());
        }
        text.clone_into(&mut filter.lock().unwrap());
        Ok(())
    };
    Messages::new(move || said.lock().unwrap().clone(), set)
}

/// Stands in for an endpoint that gives back how many events it got.
pub(crate) fn tried(trial: &Trial) -> Tried {
    let place = |stored: &Stored| (stored.record.timestamp, stored.offset);
    assert!(trial.events.is_sorted_by_key(place), "the oldest comes first");
    let record = TriedRecord {
        topic: TopicName::parse("out").unwrap(),
        key: Some("n".to_owned()),
        value: trial.events.len().to_string().into(),
    };
    Tried {
        id: format!("test_{}", trial.random),
        events: trial.events.len(),
        timings: Timings {
            connect: Some(std::time::Duration::from_millis(2)),
            first_byte: Some(std::time::Duration::from_millis(6)),
            total: std::time::Duration::from_millis(7),
            ..Timings::default()
        },
        piece: "[2\u{fffd}".into(),
        status: Some(200),
        outcome: "acknowledged",
        message: "1 records".into(),
        records: vec![record],
    }
}

async fn follow(context: &Context) -> JoinSet<()> {
    let (control, shutdown) = (Arc::clone(&context.control), CancellationToken::new());
    let (restored, wait) = oneshot::channel();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let follower = control.restore().await.unwrap();
        restored.send(()).unwrap();
        follower.follow(&shutdown).await.unwrap();
    });
    wait.await.unwrap();
    let (context, shutdown) = (context.clone(), CancellationToken::new());
    tasks.spawn(async move { fpaas_state::removal::run(context, shutdown).await.unwrap() });
    tasks
}

pub(crate) fn request(method: &str, path: &str, body: Body) -> Request<Body> {
    let request = Request::builder().method(method).uri(path).header("authorization", format!("Bearer {KEY}"));
    request.header("content-type", "application/json").body(body).unwrap()
}

/// A record received so many milliseconds after [`NOW`].
pub(crate) fn record(key: &str, value: impl Into<Bytes>, after: i64) -> Record {
    Record {
        key: Some(Bytes::copy_from_slice(key.as_bytes())),
        value: Some(value.into()),
        headers: HeadersBuilder::new().with("kind", "commit").build(),
        timestamp: Timestamp::from_millis(NOW + after),
    }
}

impl Answer {
    /// The JSON of an answer with this status.
    #[track_caller]
    pub(crate) fn json(&self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", String::from_utf8_lossy(&self.body));
        assert_eq!(self.headers["content-type"], "application/json");
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Name of the problem and pointers of its errors; that it is well-formed is checked.
    #[track_caller]
    pub(crate) fn problem(&self) -> (String, Vec<String>) {
        assert_eq!(self.headers["content-type"], "application/problem+json", "{}", String::from_utf8_lossy(&self.body));
        let problem: Value = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(problem["status"], self.status.as_u16());
        assert!(!problem["title"].as_str().unwrap().is_empty() && !problem["detail"].as_str().unwrap().is_empty());
        let errors = problem["errors"].as_array().cloned().unwrap_or_default();
        let pointers = errors.iter().map(|error| error["pointer"].as_str().unwrap().to_owned()).collect();
        assert!(errors.iter().all(|error| !error["detail"].as_str().unwrap().is_empty()));
        let name = problem["type"].as_str().unwrap().strip_prefix("urn:fpaas:problem:").unwrap();
        (name.to_owned(), pointers)
    }

    /// The same, compared.
    #[track_caller]
    pub(crate) fn refused(&self, status: u16, name: &str, pointers: &[&str]) {
        let found = self.problem();
        assert_eq!((found.0.as_str(), found.1), (name, pointers.iter().map(|&pointer| pointer.to_owned()).collect()));
        assert_eq!(self.status.as_u16(), status);
    }
}
