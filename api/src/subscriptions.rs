//! `/v1/subscriptions`: put, patch, get, list, delete, and what else is done to one.

use axum::Json;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use fpaas_core::subscription::{self, Processor, Secret, Subscription};
use fpaas_core::topic::TopicSettings;
use fpaas_core::{Offset, Scope, SubscriptionId, Timestamp, TopicName, Violation, limits};
use fpaas_expression::Expression;
use fpaas_state::{Applied, Change, Expects, Outcome, SubscriptionEntry};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::ops::Bound;

use crate::app::{self, Readable};
use crate::caller::Caller;
use crate::list::{self, Page};
use crate::params::{Name, Params};
use crate::patch::Patch;
use crate::problem::{self, Kind, Problem};
use crate::strict::Parsed;
use crate::{body, conditions, dry_run, etag, mask, once, quota, redrive, replay, secrets, starts, trial};

/// A subscription as it is given back, in the shape in which it can be put again.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "SubscriptionAnswer")]
pub(crate) struct Shown<'a> {
    #[serde(flatten)]
    config: Cow<'a, Subscription>,
    /// In the answer that creates it, and at `…/secret`.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

pub(crate) async fn put(
    caller: Caller,
    Name(name): Name,
    mut params: Params,
    request: Request,
) -> Result<Response, Problem> {
    let dry = params.flag("dryRun");
    params.finish()?;
    let expects = conditions::expects(request.headers())?;
    let wanted = Wanted::of(&caller, &name, &body::read(request).await?, dry).await?;
    if dry {
        return wanted.tried(&caller, &name, &expects).await;
    }
    let starts = wanted.starts(&caller).await?;
    answer(&caller, &wanted.submitted(&caller, expects, starts).await?)
}

/// Changes what is given of it. Somebody else's change in the same moment is no reason to refuse, unless the request
/// says so: the patch is then applied to that.
pub(crate) async fn patch(
    caller: Caller,
    Name(name): Name,
    mut params: Params,
    request: Request,
) -> Result<Response, Problem> {
    let dry = params.flag("dryRun");
    params.finish()?;
    let expects = conditions::expects(request.headers())?;
    let patch = Patch::parse(&body::read(request).await?)?;
    if dry {
        let entry = caller.subscription(&name)?;
        let wanted = Wanted::patched(&caller, &name, &patch, &entry.config).await?;
        return wanted.tried(&caller, &name, &expects).await;
    }
    patched(&caller, &name, &expects, &patch).await
}

/// `…/{id}:pause` and `…/{id}:resume`, which do no harm where it is so already, `…/{id}:rotateSecret`,
/// `…/{id}:replay`, `…/{id}:redrive` and `…/{id}:test`.
pub(crate) async fn act(
    caller: Caller,
    Name(name): Name,
    params: Params,
    request: Request,
) -> Result<Response, Problem> {
    let (name, action) = match name.rsplit_once(':') {
        Some((name, action @ ("pause" | "resume" | "rotateSecret" | "test" | "replay" | "redrive"))) => (name, action),
        Some((_, other)) => return Err(Problem::not_found("action", other)),
        None => return Err(problem::method_not_allowed(Method::POST).await),
    };
    params.finish()?;
    let state = match action {
        "pause" => subscription::State::Paused,
        "resume" => subscription::State::Active,
        "replay" => return replay::start(&caller, name, request).await,
        "redrive" => return redrive::start(&caller, name, request).await,
        "test" => return trial::run(&caller, name, request).await,
        _ => return secrets::rotate(&caller, name, request).await,
    };
    let expects = conditions::expects(request.headers())?;
    let (parts, body) = request.into_parts();
    let bytes = body::read_parts(&parts, body).await?;
    if !bytes.is_empty() {
        Parsed::<Nothing>::of(&bytes).checked(|_| Vec::new()).map_err(Problem::invalid)?;
    }
    // Whatever else has become of it, such as a source that is gone: it can always be paused.
    let entry = caller.subscription(name)?;
    let (id, of) = (entry.id.clone(), Some(entry.incarnation));
    let once = once::of(&parts.headers, parts.uri.path(), b"", of)?;
    let applied = caller.submit_once(expects, once, Change::SetState { id, of, state }).await?;
    match (&applied.outcome, &applied.subscription) {
        (Outcome::Replaced, Some(entry)) => Ok(once::marked(applied.repeated, shown(&caller, entry, None))),
        (Outcome::NotFound | Outcome::Replaced, _) => Err(Problem::not_found("subscription", name)),
        (outcome, _) => Err(app::unexpected(outcome)),
    }
}

/// What an action may be sent that has nothing to say.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Nothing {}

async fn patched(caller: &Caller, name: &str, expects: &Expects, patch: &Patch) -> Result<Response, Problem> {
    caller.app.follow(expects).await;
    for _ in 0..limits::API_PATCH_TRIES {
        let entry = caller.subscription(name)?;
        if !expects.holds(Some(entry.revision)) {
            return Err(Problem::unexpected(Some(entry.revision)));
        }
        let wanted = Wanted::patched(caller, name, patch, &entry.config).await?;
        // It is there, so that where it starts is not read.
        match wanted.submitted(caller, Expects::OneOf(vec![entry.revision]), Vec::new()).await {
            Err(problem) if problem.is_unexpected() => {
                caller.app.follow(&Expects::OneOf(problem.revision().into_iter().collect())).await
            }
            applied => return answer(caller, &applied?),
        }
    }
    Err(Problem::new(Kind::Unavailable, "others change it all the time: ask again"))
}

/// A subscription that can be put as it is.
struct Wanted {
    id: SubscriptionId,
    subscription: Subscription,
    source: Readable,
}

impl Wanted {
    /// What `bytes` say, once everything about it is right.
    async fn of(caller: &Caller, name: &str, bytes: &[u8], dry: bool) -> Result<Self, Problem> {
        Self::checked(caller, read(caller, name, bytes), dry).await
    }

    /// The same of what is there, with a patch.
    async fn patched(caller: &Caller, name: &str, patch: &Patch, config: &Subscription) -> Result<Self, Problem> {
        let mut whole = patch.applied(config)?;
        mask::restore(&mut whole, config);
        let unknown = patch.unknown::<Subscription>(&whole);
        let read = read(caller, name, whole.to_string().as_bytes());
        let read = if unknown.is_empty() { read } else { Err([unknown, read.err().unwrap_or_default()].concat()) };
        Self::checked(caller, read, true).await
    }

    async fn checked(
        caller: &Caller,
        read: Result<(SubscriptionId, Subscription), Vec<Violation>>,
        dry: bool,
    ) -> Result<Self, Problem> {
        let (id, subscription) = read.map_err(Problem::invalid)?;
        refuse_conflicts(caller, &id, &subscription)?;
        quota::check_subscription(caller, &id, &subscription)?;
        let source = &subscription.source.topic;
        if source.is_system() && !caller.has_topic(source) {
            make_system(caller, dry).await?;
        }
        let source = caller.readable(source.as_str()).await?;
        Ok(Self { id, subscription, source })
    }

    async fn submitted(self, caller: &Caller, expects: Expects, starts: Vec<Offset>) -> Result<Applied, Problem> {
        let Self { id, subscription, .. } = self;
        let secret = Secret::from_bytes(&app::random::<32>()?).map_err(|error| Problem::internal(&error))?;
        caller.submit(expects, Change::PutSubscription { id, subscription, secret, starts }).await
    }

    /// Where it starts, if it is new.
    async fn starts(&self, caller: &Caller) -> Result<Vec<Offset>, Problem> {
        starts::of_subscription(&caller.app, &self.source, &self.subscription.start_from).await
    }

    /// What it would get. Nothing is changed, and no secret is shown.
    async fn tried(mut self, caller: &Caller, name: &str, expects: &Expects) -> Result<Response, Problem> {
        caller.app.follow(expects).await;
        let current = caller.subscription(name).ok().map(|entry| entry.revision);
        if !expects.holds(current) {
            return Err(Problem::unexpected(current));
        }
        self.starts(caller).await?;
        self.subscription.id = Some(self.id);
        if let Some(Processor::Webhook(webhook)) = &mut self.subscription.processor {
            webhook.secret = None;
            webhook.client_certificate.iter_mut().for_each(|certificate| certificate.private_key = None);
        }
        dry_run::answer(caller, &seen(caller, &self.subscription), &self.source).await
    }
}

/// It is made with a tenant's first subscription, which may be the one that reads it.
async fn make_system(caller: &Caller, dry: bool) -> Result<(), Problem> {
    let refuse = |detail: &str| Err(Problem::invalid(vec![Violation::new("/source/topic", detail)]));
    if dry {
        return refuse("there is no topic system yet: it is made with the tenant's first subscription");
    }
    let change = Change::PutTopic { name: TopicName::system(), settings: TopicSettings::system() };
    match caller.submit(Expects::Absent, change).await?.outcome {
        Outcome::Conflict(_) => refuse("the topic system of an earlier tenant of that name is not gone yet: try again"),
        _ => Ok(()),
    }
}

fn answer(caller: &Caller, applied: &Applied) -> Result<Response, Problem> {
    match (&applied.outcome, &applied.subscription) {
        (Outcome::NotFound, _) => Err(caller.gone()),
        (Outcome::Created, Some(entry)) => Ok(created(caller, entry)),
        (Outcome::Replaced, Some(entry)) => Ok(shown(caller, entry, None)),
        (outcome, _) => Err(app::unexpected(outcome)),
    }
}

/// The body, once everything about it is right.
fn read(caller: &Caller, name: &str, bytes: &[u8]) -> Result<(SubscriptionId, Subscription), Vec<Violation>> {
    let id = SubscriptionId::parse(name);
    let before = caller.subscription(name).ok();
    let checked = Parsed::<Subscription>::of(bytes).checked(|subscription| {
        let mut found = subscription.violations(caller.app.config.allow_http);
        found.extend(id_violation(id.as_ref().ok(), subscription.id.as_ref()));
        found.extend(expression_violations(subscription));
        let before = before.as_deref().map(|entry| &entry.config);
        found.extend(mask::violations(subscription, before));
        found.extend(certificate_violations(subscription, before, caller.app.context.clock.now()));
        found.extend(source_violation(caller, name, subscription));
        found
    });
    match (id, checked) {
        (Ok(id), Ok(subscription)) => Ok((id, subscription)),
        (Err(error), checked) => {
            let mut found = vec![Violation::new("/id", format!("in the path {error}"))];
            found.extend(checked.err().unwrap_or_default());
            Err(found)
        }
        (Ok(_), Err(found)) => Err(found),
    }
}

fn id_violation(path: Option<&SubscriptionId>, given: Option<&SubscriptionId>) -> Option<Violation> {
    let (path, given) = (path?, given?);
    (path != given).then(|| Violation::new("/id", format!("must be {path}, as in the path, or left out")))
}

fn expression_violations(subscription: &Subscription) -> impl Iterator<Item = Violation> {
    let payload = subscription.webhook().and_then(|webhook| webhook.payload.as_deref());
    let texts = [("/filter/match", subscription.filter.expression.as_deref()), ("/processor/webhook/payload", payload)];
    texts.into_iter().filter_map(|(pointer, text)| {
        // One that is too long is refused for that already.
        let text = text.filter(|text| text.len() <= limits::EXPRESSION_BYTES_MAX)?;
        let error = Expression::compile(text).err()?;
        Some(Violation::new(pointer, format!("must be a JMESPath: {error}")))
    })
}

/// What its client certificate is beside what is there.
fn certificate_violations(of: &Subscription, before: Option<&Subscription>, now: Timestamp) -> Vec<Violation> {
    let certificate = |of: &'_ Subscription| of.webhook().and_then(|webhook| webhook.client_certificate.clone());
    let before = before.and_then(certificate);
    certificate(of).map(|given| given.violations_beside(before.as_ref(), now)).unwrap_or_default()
}

/// What cannot change is said before anything is asked of the new source. The command is checked again where it is
/// applied.
fn refuse_conflicts(caller: &Caller, id: &SubscriptionId, subscription: &Subscription) -> Result<(), Problem> {
    let Ok(old) = caller.subscription(id.as_str()) else { return Ok(()) };
    let conflicts = subscription.conflicts(&old.config);
    if conflicts.is_empty() { Ok(()) } else { Err(Problem::conflict(conflicts)) }
}

/// Another source than an existing subscription has is a conflict, whether it is there or not.
fn source_violation(caller: &Caller, name: &str, subscription: &Subscription) -> Option<Violation> {
    let source = &subscription.source.topic;
    if caller.subscription(name).is_ok_and(|old| old.config.source.topic != *source) {
        return None;
    }
    (!caller.has_topic(source) && !source.is_system())
        .then(|| Violation::new("/source/topic", format!("there is no topic {source}")))
}

fn created(caller: &Caller, entry: &SubscriptionEntry) -> Response {
    let mut response = (StatusCode::CREATED, shown(caller, entry, Some(entry.secret.reveal()))).into_response();
    if let Ok(location) = HeaderValue::try_from(format!("/v1/subscriptions/{}", entry.id)) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

fn shown(caller: &Caller, entry: &SubscriptionEntry, secret: Option<String>) -> Response {
    let tag = [(header::ETAG, etag::tag(entry.revision))];
    (tag, Json(Shown { config: seen(caller, &entry.config), secret })).into_response()
}

/// As the caller may see it.
fn seen<'c>(caller: &Caller, config: &'c Subscription) -> Cow<'c, Subscription> {
    if caller.permits(Scope::Write) { Cow::Borrowed(config) } else { mask::masked(config) }
}

pub(crate) async fn get(
    caller: Caller,
    Name(name): Name,
    params: Params,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    params.finish()?;
    let entry = caller.subscription(&name)?;
    conditions::answer(&headers, Some(entry.revision), || shown(&caller, &entry, None))
}

pub(crate) async fn delete(
    caller: Caller,
    Name(name): Name,
    params: Params,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    params.finish()?;
    let expects = conditions::expects(&headers)?;
    let id = caller.subscription(&name)?.id.clone();
    match caller.submit(expects, Change::DeleteSubscription { id }).await?.outcome {
        Outcome::Deleted => Ok(StatusCode::NO_CONTENT),
        Outcome::NotFound => Err(Problem::not_found("subscription", &name)),
        outcome => Err(app::unexpected(&outcome)),
    }
}

pub(crate) async fn list(caller: Caller, params: Params) -> Result<Json<Page<Subscription>>, Problem> {
    let wanted = list::Wanted::parse(params)?;
    let (view, tenant) = (caller.app.context.control.view(), &caller.tenant);
    let after = SubscriptionId::parse(&wanted.after).ok();
    let from = after.map_or(Bound::Unbounded, |id| Bound::Excluded((tenant.clone(), id)));
    let behind = view.subscriptions.range((from, Bound::Unbounded)).filter(|((owner, _), _)| owner == tenant);
    Ok(Json(wanted.page(behind.map(|((_, id), entry)| (id.to_string(), seen(&caller, &entry.config))))?))
}
