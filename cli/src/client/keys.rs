//! `fpaas keys` and `fpaas tenants`: who may ask, and for whom.

use reqwest::Method;
use serde_json::json;

use super::Client;
use super::render::{self, Column};
use super::show::{list, segment, tag};
use crate::args::{Keys, Scope, Server, Tenants};
use crate::exit::Failure;
use crate::out;

const KEYS: &[Column] = &[
    ("ID", "/id"),
    ("SCOPES", "/scopes"),
    ("CREATED", "/createdAt"),
    ("EXPIRES", "/expiresAt"),
    ("LAST USED", "/lastUsedAt"),
    ("DESCRIPTION", "/description"),
];
const MADE: &[Column] = &[
    ("ID", "/id"),
    ("SCOPES", "/scopes"),
    ("EXPIRES", "/expiresAt"),
    ("DESCRIPTION", "/description"),
    ("KEY", "/key"),
];
const TENANTS: &[Column] = &[("ID", "/id"), ("POOL", "/pool"), ("MOVES FROM", "/moving/from")];

pub(crate) async fn keys(server: &Server, asked: &Keys) -> Result<(), Failure> {
    let client = Client::find(server)?;
    match asked {
        Keys::List(listed) => render::all(listed.output, KEYS, &list(&client, "/v1/keys").await?),
        Keys::Create(new) => {
            let scopes: Vec<_> = new.scope.iter().map(|scope| scope.name()).collect();
            let body = json!({"scopes": scopes, "description": new.description, "expiresAt": new.expires});
            let made = client.request(Method::POST, "/v1/keys").once(&new.once).body(Some(&body)).answer().await?;
            render::all(new.shown.output, MADE, &[made.value])
        }
        Keys::Delete(one) => {
            client.call(Method::DELETE, &format!("/v1/keys/{}", segment(&one.id)?), None).await?;
            out::line(format_args!("key {} deleted", one.id)).map(drop)
        }
    }
}

pub(crate) async fn tenants(server: &Server, asked: &Tenants) -> Result<(), Failure> {
    let client = Client::find(server)?;
    let at = |id: &str| Ok::<_, Failure>(format!("/v1/admin/tenants/{}", segment(id)?));
    match asked {
        Tenants::List(listed) => render::all(listed.output, TENANTS, &list(&client, "/v1/admin/tenants").await?),
        Tenants::Get(get) => {
            let found = client.request(Method::GET, &at(&get.id)?).answer().await?;
            if get.etag { tag(&found) } else { render::all(get.shown.output, TENANTS, &[found.value]) }
        }
        Tenants::Put(put) => {
            let body = put.pool.as_ref().map_or_else(|| json!({}), |pool| json!({"pool": pool}));
            let request = client.request(Method::PUT, &at(&put.id)?).expecting(&put.condition).body(Some(&body));
            render::all(put.shown.output, TENANTS, &[request.answer().await?.value])
        }
        Tenants::Delete(one) => {
            client.request(Method::DELETE, &at(&one.id)?).expecting(&one.condition).answer().await?;
            out::line(format_args!("tenant {} deleted", one.id)).map(drop)
        }
    }
}

impl Scope {
    const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }
}
