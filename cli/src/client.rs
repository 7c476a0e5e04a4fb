//! The commands that talk to a server: one HTTP client, one way to say what went wrong.

pub(crate) mod act;
pub(crate) mod apply;
pub(crate) mod context;
mod diff;
pub(crate) mod jmespath;
pub(crate) mod keys;
mod render;
pub(crate) mod replay;
pub(crate) mod show;
pub(crate) mod tap;

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::args::Server;
use crate::exit::Failure;

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
}

/// A problem (RFC 9457), as far as a person wants to see it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Problem {
    title: String,
    detail: String,
    errors: Vec<fpaas_core::Violation>,
}

impl Client {
    /// For the server that flags, environment or the context file name.
    pub(crate) fn find(server: &Server) -> Result<Self, Failure> {
        Ok(Self { tenant: server.tenant.clone(), ..Self::new(context::find(server)?)? })
    }

    pub(crate) fn new(target: Target) -> Result<Self, Failure> {
        // Loopback and an operator's own server: no proxy stands between. The total time is the caller's matter
        // (tails).
        let http = reqwest::Client::builder().no_proxy().connect_timeout(Duration::from_secs(10)).build();
        Ok(Self { http: http.map_err(|error| Failure::Failed(error.to_string()))?, target, tenant: None })
    }

    /// Sends and answers the JSON of a success, null where there is none.
    pub(crate) async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
        let answer = self.send(method, path, body).await?;
        let text = answer.text().await.map_err(|error| self.unreachable(&error))?;
        if text.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(&text)
            .map_err(|error| Failure::Failed(format!("the server's answer is not JSON: {error}")))
    }

    /// Sends and answers whatever a success is.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<reqwest::Response, Failure> {
        let url = format!("{}{path}", self.target.url.trim_end_matches('/'));
        let mut request = self.http.request(method, &url).bearer_auth(&self.target.key);
        if let Some(tenant) = &self.tenant {
            request = request.header("fpaas-tenant", tenant);
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let answer = request.send().await.map_err(|error| self.unreachable(&error))?;
        if answer.status().is_success() { Ok(answer) } else { Err(self.refused(answer).await) }
    }

    fn unreachable(&self, error: &reqwest::Error) -> Failure {
        let mut cause: &dyn std::error::Error = error;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        let url = &self.target.url;
        Failure::Unreachable(format!("{url} cannot be reached: {cause}; is `fpaas dev` running there?"))
    }

    async fn refused(&self, answer: reqwest::Response) -> Failure {
        let status = answer.status();
        let text = answer.text().await.unwrap_or_default();
        let problem: Problem = serde_json::from_str(&text).unwrap_or_default();
        let mut message = if problem.detail.is_empty() { problem.title } else { problem.detail };
        if message.is_empty() {
            message = format!("the server answered {status}");
        }
        for violation in &problem.errors {
            let pointer = if violation.pointer.is_empty() { "/" } else { &violation.pointer };
            message.push_str(&format!("\n  {pointer}: {}", violation.detail));
        }
        match status {
            StatusCode::UNAUTHORIZED => Failure::Key(format!("{message} (see --api-key)")),
            StatusCode::NOT_FOUND => Failure::NotFound(message),
            status if status.is_client_error() => Failure::Usage(message),
            _ => Failure::Failed(message),
        }
    }
}
