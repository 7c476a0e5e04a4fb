//! A subscription's signing secrets and what follows from them: shown, and rotated with a time in which both sign.

use axum::Json;
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use fpaas_core::subscription::{Secret, SigningKey};
use fpaas_core::{Timestamp, Violation, limits, rfc3339};
use fpaas_state::{Change, Outcome, SubscriptionEntry};
use http::{HeaderMap, header};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::app;
use crate::caller::Caller;
use crate::params::{Name, Params};
use crate::problem::Problem;
use crate::strict::Parsed;
use crate::{body, conditions, etag, once};

/// What signs now.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Secrets")]
pub(crate) struct Shown {
    secret: String,
    /// The one before it, while it signs, too.
    previous: Option<Previous>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "PreviousSecret")]
struct Previous {
    secret: String,
    until: String,
}

/// What `v1a` signatures are checked with now.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PublicKeys {
    /// `whpk_` and base64 of the 32 bytes.
    public_key: String,
    /// That of the secret before, while it signs, too.
    previous: Option<PreviousKey>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "PreviousPublicKey")]
struct PreviousKey {
    public_key: String,
    until: String,
}

/// What a rotation may say.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(rename = "RotateSecret")]
pub(crate) struct Rotation {
    /// Absent, one is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<Secret>,
    /// How long the old one signs, too.
    #[schemars(range(max = limits::SECRET_OVERLAP_MS_MAX))]
    overlap_ms: u64,
}

impl Default for Rotation {
    fn default() -> Self {
        Self { secret: None, overlap_ms: limits::SECRET_OVERLAP_MS_DEFAULT }
    }
}

pub(crate) async fn get(
    caller: Caller,
    Name(name): Name,
    params: Params,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    params.finish()?;
    let entry = caller.subscription(&name)?;
    conditions::answer(&headers, Some(entry.revision), || shown(&caller, &entry))
}

/// `…/{id}/publicKey`: whether calls are signed so or not.
pub(crate) async fn public(
    caller: Caller,
    Name(name): Name,
    params: Params,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    params.finish()?;
    let entry = caller.subscription(&name)?;
    let keys = public_keys(&entry, caller.app.context.clock.now())?;
    let tag = [(header::ETAG, etag::tag(entry.revision))];
    conditions::answer(&headers, Some(entry.revision), || (tag, Json(keys)).into_response())
}

fn public_keys(entry: &SubscriptionEntry, now: Timestamp) -> Result<PublicKeys, Problem> {
    let of = |secret: &Secret| {
        SigningKey::of(secret).map(|key| key.public()).ok_or_else(|| Problem::internal(&"a key cannot be made"))
    };
    let previous = entry.previous.as_ref().filter(|previous| now < previous.until);
    let previous = previous.map(|previous| {
        let until = rfc3339::format(previous.until);
        Ok::<_, Problem>(PreviousKey { public_key: of(&previous.secret)?, until })
    });
    Ok(PublicKeys { public_key: of(&entry.secret)?, previous: previous.transpose()? })
}

/// `…/{id}:rotateSecret`.
pub(crate) async fn rotate(caller: &Caller, name: &str, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let expects = conditions::expects(&parts.headers)?;
    let bytes = body::read_parts(&parts, body).await?;
    // Nothing needs to be said.
    let asked = if bytes.is_empty() { Rotation::default() } else { read(&bytes)? };
    let entry = caller.subscription(name)?;
    let (id, of) = (entry.id.clone(), Some(entry.incarnation));
    let once = once::of(&parts.headers, parts.uri.path(), &bytes, of)?;
    let secret = match asked.secret {
        Some(secret) => secret,
        None => Secret::from_bytes(&app::random::<32>()?).map_err(|error| Problem::internal(&error))?,
    };
    let overlap = i64::try_from(asked.overlap_ms).unwrap_or(i64::MAX);
    let until = Timestamp::from_millis(caller.app.context.clock.now().as_millis().saturating_add(overlap));
    let applied = caller.submit_once(expects, once, Change::RotateSecret { id, of, secret, until }).await?;
    match (&applied.outcome, &applied.subscription) {
        (Outcome::Replaced, Some(entry)) => Ok(once::marked(applied.repeated, shown(caller, entry))),
        (Outcome::NotFound | Outcome::Replaced, _) => Err(Problem::not_found("subscription", name)),
        (outcome, _) => Err(app::unexpected(outcome)),
    }
}

fn read(bytes: &[u8]) -> Result<Rotation, Problem> {
    let checked = Parsed::<Rotation>::of(bytes).checked(|asked| {
        let most = limits::SECRET_OVERLAP_MS_MAX;
        let wrong = asked.overlap_ms > most;
        wrong.then(|| Violation::new("/overlapMs", format!("must be 0 to {most}"))).into_iter().collect()
    });
    checked.map_err(Problem::invalid)
}

fn shown(caller: &Caller, entry: &SubscriptionEntry) -> Response {
    let now = caller.app.context.clock.now();
    let previous = entry.previous.as_ref().filter(|previous| now < previous.until);
    let previous =
        previous.map(|previous| Previous { secret: previous.secret.reveal(), until: rfc3339::format(previous.until) });
    let tag = [(header::ETAG, etag::tag(entry.revision))];
    (tag, Json(Shown { secret: entry.secret.reveal(), previous })).into_response()
}
