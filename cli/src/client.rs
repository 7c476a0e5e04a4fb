//! The commands that talk to a server: one HTTP client, one way to say what went wrong.

pub(crate) mod act;
pub(crate) mod admin;
pub(crate) mod apply;
pub(crate) mod context;
pub(crate) mod delete;
mod diff;
mod follow;
pub(crate) mod jmespath;
pub(crate) mod keys;
pub(crate) mod redrive;
mod refused;
mod render;
pub(crate) mod replay;
pub(crate) mod show;
pub(crate) mod tap;

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tracing::debug;

use crate::args::{IfMatch, Once, Server};
use crate::exit::Failure;

/// How long an answer may take, all of it: a change waits ten seconds, the call of a webhook that is tried thirty.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// A server and the key that opens it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Target {
    pub(crate) url: String,
    pub(crate) key: String,
}

/// Talks to one server.
#[derive(Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    target: Target,
    /// Whom the operator acts for.
    tenant: Option<String>,
    answer_within: Duration,
}

/// A request that is still to be sent.
#[derive(Debug)]
pub(crate) struct Request<'c> {
    client: &'c Client,
    built: reqwest::RequestBuilder,
}

/// The JSON of a success, null where there is none.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) value: Value,
    /// Its `ETag`, where it has one.
    pub(crate) tag: Option<String>,
}

impl Client {
    /// For the server that flags, environment or the context file name.
    pub(crate) fn find(server: &Server) -> Result<Self, Failure> {
        Ok(Self { tenant: server.tenant.clone(), ..Self::new(context::find(server)?)? })
    }

    pub(crate) fn new(target: Target) -> Result<Self, Failure> {
        // Loopback and an operator's own server: no proxy stands between.
        let http = reqwest::Client::builder().no_proxy().connect_timeout(Duration::from_secs(10)).build();
        let http = http.map_err(|error| Failure::Failed(error.to_string()))?;
        Ok(Self { http, target, tenant: None, answer_within: ANSWER_WITHIN })
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> Request<'_> {
        debug!(%method, path, "request");
        let url = format!("{}{path}", self.target.url.trim_end_matches('/'));
        let built = self.http.request(method, &url).bearer_auth(&self.target.key);
        Request { client: self, built }.header("fpaas-tenant", self.tenant.as_deref())
    }

    /// Sends and answers the JSON of a success, null where there is none.
    pub(crate) async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
        Ok(self.request(method, path).body(body).answer().await?.value)
    }

    /// What is there, if it is.
    pub(crate) async fn find_one(&self, path: &str) -> Result<Option<Answer>, Failure> {
        match self.request(Method::GET, path).answer().await {
            Err(Failure::NotFound(_)) => Ok(None),
            found => found.map(Some),
        }
    }

    /// The text of a success.
    pub(crate) async fn text(&self, path: &str) -> Result<String, Failure> {
        let answer = self.request(Method::GET, path).sent(Some(self.answer_within)).await?;
        succeeded(answer).await?.text().await.map_err(|error| self.failed(&error))
    }

    /// All of an answer.
    async fn taken(&self, answer: reqwest::Response) -> Result<Answer, Failure> {
        let tag = answer.headers().get("etag").and_then(|tag| tag.to_str().ok()).map(str::to_owned);
        let text = answer.text().await.map_err(|error| self.failed(&error))?;
        if text.is_empty() {
            return Ok(Answer { value: Value::Null, tag });
        }
        let value = serde_json::from_str(&text);
        let value = value.map_err(|error| Failure::Failed(format!("the server's answer is not JSON: {error}")))?;
        Ok(Answer { value, tag })
    }

    fn failed(&self, error: &reqwest::Error) -> Failure {
        let mut cause: &dyn std::error::Error = error;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        let url = &self.target.url;
        if error.is_timeout() && !error.is_connect() {
            let within = humantime::format_duration(self.answer_within);
            return Failure::NotNow(format!("{url} has not answered within {within}: what was asked for may still be"));
        }
        Failure::Unreachable(format!("{url} cannot be reached: {cause}; is `fpaas dev` running there?"))
    }
}

impl Request<'_> {
    pub(crate) fn header(self, name: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => Self { built: self.built.header(name, value), ..self },
            None => self,
        }
    }

    pub(crate) fn body(self, body: Option<&Value>) -> Self {
        match body {
            Some(body) => Self { built: self.built.body(body.to_string()), ..self }
                .header("content-type", Some("application/json")),
            None => self,
        }
    }

    /// Only where it is as it is said to be.
    pub(crate) fn expecting(self, asked: &IfMatch) -> Self {
        let tag = asked.if_match.as_deref().map(quoted);
        self.header("if-match", tag.as_deref())
    }

    /// Once, however often it is sent.
    pub(crate) fn once(self, asked: &Once) -> Self {
        self.header("idempotency-key", asked.idempotency_key.as_deref())
    }

    /// Sends it, and takes all of the answer.
    pub(crate) async fn answer(self) -> Result<Answer, Failure> {
        let client = self.client;
        client.taken(succeeded(self.sent(Some(client.answer_within)).await?).await?).await
    }

    /// The same, also where a node says with 503 and JSON, which is no problem's, how far it is.
    pub(crate) async fn answer_or_not_now(self) -> Result<Answer, Failure> {
        let client = self.client;
        let answer = self.sent(Some(client.answer_within)).await?;
        let is_json = answer.headers().get("content-type").is_some_and(|of| of == "application/json");
        if answer.status() == StatusCode::SERVICE_UNAVAILABLE && is_json {
            return client.taken(answer).await;
        }
        client.taken(succeeded(answer).await?).await
    }

    /// Sends it; a success may go on for ever.
    pub(crate) async fn stream(self) -> Result<reqwest::Response, Failure> {
        succeeded(self.sent(None).await?).await
    }

    /// Sends it, and waits no longer than `within` for all of the answer.
    async fn sent(self, within: Option<Duration>) -> Result<reqwest::Response, Failure> {
        let Self { client, built } = self;
        let built = within.into_iter().fold(built, reqwest::RequestBuilder::timeout);
        built.send().await.map_err(|error| client.failed(&error))
    }
}

async fn succeeded(answer: reqwest::Response) -> Result<reqwest::Response, Failure> {
    if answer.status().is_success() { Ok(answer) } else { Err(refused::failure(answer).await) }
}

/// A revision as status says it, or an entity tag as it is.
fn quoted(tag: &str) -> String {
    if tag.bytes().all(|byte| byte.is_ascii_digit()) { format!("\"{tag}\"") } else { tag.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_becomes_an_entity_tag_and_a_tag_stays_one() {
        assert_eq!(["7", "\"7\"", "*", "W/\"7\""].map(quoted), ["\"7\"", "\"7\"", "*", "W/\"7\""]);
    }

    #[tokio::test]
    async fn a_server_that_does_not_answer_is_waited_for_no_longer_than_that() {
        drop(rustls::crypto::ring::default_provider().install_default());
        // It takes connections, and nobody answers them.
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = Target { url: format!("http://{}", silent.local_addr().unwrap()), key: "k".to_owned() };
        let client = Client { answer_within: Duration::from_millis(50), ..Client::new(target).unwrap() };
        let failure = client.call(Method::GET, "/v1/topics", None).await.unwrap_err();
        assert_eq!(failure.code(), 75, "{failure}");
        assert!(failure.to_string().contains("has not answered within 50ms"), "{failure}");
    }
}
