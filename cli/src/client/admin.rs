//! `fpaas admin`: how the node that is asked is, and what it says of itself.

use reqwest::Method;
use serde_json::{Value, json};

use super::Client;
use super::render::{self, Column};
use crate::args::{Admin, Server};
use crate::exit::Failure;
use crate::out;

const CONTROL: &[Column] = &[("NODE", "/node"), ("REVISION", "/revision"), ("DIGEST", "/digest")];
const MESSAGES: &[Column] = &[("FILTER", "/filter")];
const READY: &[Column] = &[("HEALTHY", "/healthy"), ("READY", "/ready"), ("PHASE", "/phase"), ("VERSION", "/version")];
const OPENAPI: &[Column] = &[("TITLE", "/info/title"), ("VERSION", "/info/version"), ("OPENAPI", "/openapi")];

pub(crate) async fn run(server: &Server, asked: &Admin) -> Result<(), Failure> {
    let client = Client::find(server)?;
    match asked {
        Admin::Control(shown) => {
            let known = client.call(Method::GET, "/v1/admin/control", None).await?;
            render::all(shown.output, CONTROL, &[known])
        }
        Admin::Messages(messages) => {
            let body = messages.set.as_ref().map(|filter| json!({"filter": filter}));
            let method = if body.is_some() { Method::PUT } else { Method::GET };
            let said = client.call(method, "/v1/admin/messages", body.as_ref()).await?;
            render::all(messages.shown.output, MESSAGES, &[said])
        }
        Admin::Ready(shown) => {
            let mut health = client.call(Method::GET, "/healthz", None).await?;
            let ready = client.request(Method::GET, "/readyz").answer_or_not_now().await?.value;
            if let (Some(health), Some(ready)) = (health.as_object_mut(), ready.as_object()) {
                health.extend(ready.clone());
            }
            render::all(shown.output, READY, &[health])?;
            if ready.get("ready") == Some(&Value::Bool(true)) {
                return Ok(());
            }
            let phase = ready.get("phase").and_then(Value::as_str).unwrap_or("it does not say why");
            Err(Failure::NotNow(format!("the node is not ready: {phase} (try again)")))
        }
        Admin::Metrics => out::line(client.text("/metrics").await?.trim_end()).map(drop),
        Admin::Openapi(shown) => {
            render::all(shown.output, OPENAPI, &[client.call(Method::GET, "/openapi.json", None).await?])
        }
    }
}
