//! A small client of the REST API, apart from the program's own. Every answer is checked against the OpenAPI document
//! of the server that gave it.

mod tail;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::sync::OnceCell;

use crate::contract::{Contract, Exchange};

pub use tail::Tail;

/// A record, as browsing and tailing give it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Item {
    /// Of the topic.
    pub partition: u32,
    /// In the partition.
    pub offset: u64,
    /// Whatever the server writes it as.
    #[serde(default)]
    pub timestamp: Value,
    /// Absent when it is not UTF-8, or when there is none.
    #[serde(default)]
    pub key: Option<String>,
    /// Names to values.
    #[serde(default)]
    pub headers: Map<String, Value>,
    /// The JSON itself; null when it is not JSON.
    #[serde(default)]
    pub value: Value,
    /// What is not JSON.
    #[serde(default)]
    pub value_base64: Option<String>,
}

/// One page of a topic.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Page {
    /// In order within each partition.
    pub items: Vec<Item>,
    /// Of the next page; null at the end.
    pub cursor: Option<String>,
}

/// What a request was answered.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// The body; null where there is none.
    pub body: Value,
    /// The resource's revision.
    pub etag: Option<String>,
}

impl Reply {
    /// The body of a success; an error that shows everything otherwise.
    pub fn ok(self) -> Result<Value> {
        anyhow::ensure!(self.status.is_success(), "the API answered {}: {}", self.status, self.body);
        Ok(self.body)
    }
}

/// Talks to one server.
#[derive(Clone, Debug)]
pub struct Client {
    url: String,
    key: String,
    http: reqwest::Client,
    contract: Arc<OnceCell<serde_json::Result<Contract>>>,
}

impl Client {
    /// Opens nothing yet.
    pub fn new(url: &str, key: &str) -> Result<Self> {
        // Needed once in a process, also where nothing is encrypted.
        drop(rustls::crypto::ring::default_provider().install_default());
        let http = reqwest::Client::builder().no_proxy().connect_timeout(Duration::from_secs(5)).build()?;
        Ok(Self { url: url.trim_end_matches('/').to_owned(), key: key.to_owned(), http, contract: Arc::default() })
    }

    /// Where the API is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Any request.
    pub async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Reply> {
        self.reply(self.request(method, path, body)).await
    }

    /// The same of a resource in this revision: `If-Match`.
    pub async fn send_if(&self, method: Method, path: &str, etag: &str, body: Option<&Value>) -> Result<Reply> {
        self.reply(self.request(method, path, body).header("if-match", etag)).await
    }

    async fn reply(&self, request: reqwest::RequestBuilder) -> Result<Reply> {
        let request = request.timeout(Duration::from_secs(30)).build()?;
        let (method, path) = (request.method().clone(), request.url().path().to_owned());
        let answer = self.http.execute(request).await?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let etag = answer.headers().get("etag").and_then(|etag| etag.to_str().ok()).map(str::to_owned);
        let bytes = answer.bytes().await?;
        let content_type = headers.get("content-type").and_then(|text| text.to_str().ok());
        let headers = headers.keys().map(|name| name.as_str()).collect();
        let (method, path) = (method.as_str(), path.as_str());
        let exchange = Exchange { method, path, status: status.as_u16(), content_type, headers, body: &bytes };
        self.check(&exchange).await?;
        let body = if bytes.is_empty() { Ok(Value::Null) } else { serde_json::from_slice(&bytes) };
        let body = body.unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()));
        Ok(Reply { status, body, etag })
    }

    /// A server that is gone by now has answered all the same: what it said is checked as far as its document is known.
    async fn check(&self, exchange: &Exchange<'_>) -> Result<()> {
        let contract = self.contract.get_or_try_init(|| async {
            let request = self.http.get(format!("{}/openapi.json", self.url)).timeout(Duration::from_secs(30));
            let document = request.send().await?.error_for_status()?.bytes().await?;
            Ok::<_, reqwest::Error>(serde_json::from_slice(&document).map(Contract::new))
        });
        match contract.await {
            Ok(Ok(contract)) => contract.check(exchange).map_err(anyhow::Error::msg),
            Ok(Err(error)) => anyhow::bail!("the OpenAPI document is no JSON: {error}"),
            Err(error) if error.is_status() => Err(error).context("GET /openapi.json"),
            Err(_) => Ok(()),
        }
    }

    /// The body of a successful GET.
    pub async fn get(&self, path: &str) -> Result<Value> {
        self.send(Method::GET, path, None).await?.ok().with_context(|| format!("GET {path}"))
    }

    /// The body of a successful PUT.
    pub async fn put(&self, path: &str, body: &Value) -> Result<Value> {
        self.send(Method::PUT, path, Some(body)).await?.ok().with_context(|| format!("PUT {path}"))
    }

    /// Every record of a topic, page by page.
    pub async fn records(&self, topic: &str) -> Result<Vec<Item>> {
        let (mut items, mut query) = (Vec::new(), "from=earliest".to_owned());
        loop {
            let page = self.get(&format!("/v1/topics/{topic}/records?limit=1000&{query}")).await?;
            let page: Page = serde_json::from_value(page).context("a page of records")?;
            anyhow::ensure!(!page.items.is_empty() || page.cursor.is_none(), "an empty page before the end");
            items.extend(page.items);
            match page.cursor {
                Some(cursor) => query = format!("cursor={cursor}"),
                None => return Ok(items),
            }
        }
    }

    /// The records of a topic as they come; `query` as for browsing, such as `from=earliest`.
    pub async fn tail(&self, topic: &str, query: &str) -> Result<Tail> {
        let answer = self.request(Method::GET, &format!("/v1/topics/{topic}/tail?{query}"), None).send().await?;
        anyhow::ensure!(answer.status().is_success(), "the tail was answered {}", answer.status());
        Ok(Tail::new(answer))
    }

    fn request(&self, method: Method, path: &str, body: Option<&Value>) -> reqwest::RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.url)).bearer_auth(&self.key);
        match body {
            Some(body) => request.header("content-type", "application/json").body(body.to_string()),
            None => request,
        }
    }
}
