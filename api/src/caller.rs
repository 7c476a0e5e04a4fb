//! Who asks, and for which tenant: what every handler behind a key is given, and what several of them ask of it.
//!
//! Everything that a handler finds by a name it finds here, among what the tenant has: what is another's is not there.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRequestParts;
use fpaas_core::{Incarnation, Scope, SubscriptionId, TenantId, TopicName};
use fpaas_state::{Applied, Change, Expects, KeyEntry, Once, SubscriptionEntry};
use http::request::Parts;

use crate::app::{App, Readable};
use crate::problem::Problem;

/// One request's.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) app: Arc<App>,
    /// Whose resources it is about.
    pub(crate) tenant: TenantId,
    /// That tenant, and no later one of its name.
    made: Option<Incarnation>,
    /// What it was let in with; none is the operator's.
    key: Option<Arc<KeyEntry>>,
}

impl Caller {
    /// The operator, acting for a tenant. There is one of that name.
    pub(crate) fn operator(app: Arc<App>, tenant: TenantId) -> Self {
        let made = app.context.control.view().made(&tenant);
        Self { app, tenant, made, key: None }
    }

    /// Whose key this is.
    pub(crate) fn with_key(app: Arc<App>, key: Arc<KeyEntry>) -> Self {
        Self { key: Some(Arc::clone(&key)), ..Self::operator(app, key.tenant.clone()) }
    }

    /// The same, acting for the tenant of that name.
    pub(crate) fn acting_for(self, name: &str) -> Result<Self, Problem> {
        let view = self.app.context.control.view();
        let found = TenantId::parse(name).ok().filter(|id| view.has_tenant(id));
        let tenant = found.ok_or_else(|| Problem::not_found("tenant", name))?;
        Ok(Self { key: self.key, ..Self::operator(self.app, tenant) })
    }

    /// True of the key of the configuration.
    pub(crate) const fn is_operator(&self) -> bool {
        self.key.is_none()
    }

    /// True where its key has a scope that includes `needed`.
    pub(crate) fn permits(&self, needed: Scope) -> bool {
        self.key.as_ref().is_none_or(|key| key.permits(needed))
    }

    /// Returns once its key opens nothing any more; never of the operator.
    pub(crate) async fn until_over(self) {
        let Some(key) = self.key else { return std::future::pending().await };
        let mut views = self.app.context.control.views();
        let deleted = views.wait_for(|view| !view.keys.contains_key(&key.id));
        let expired = async {
            let Some(expires) = key.expires else { return std::future::pending().await };
            let left = expires.as_millis().saturating_sub(self.app.context.clock.now().as_millis());
            tokio::time::sleep(Duration::from_millis(u64::try_from(left).unwrap_or_default())).await;
        };
        tokio::select! {
            _ = deleted => {}
            () = expired => {}
        }
    }

    /// The tenant's subscription of that name.
    pub(crate) fn subscription(&self, name: &str) -> Result<Arc<SubscriptionEntry>, Problem> {
        let id = SubscriptionId::parse(name).ok();
        let view = self.app.context.control.view();
        let entry = id.and_then(|id| view.subscription(&self.tenant, &id).cloned());
        entry.ok_or_else(|| Problem::not_found("subscription", name))
    }

    /// The tenant's topic of that name, or the built-in source.
    pub(crate) fn topic_name(&self, name: &str) -> Result<TopicName, Problem> {
        let parsed = TopicName::parse(name).ok();
        let found = parsed.filter(|name| self.has_topic(name));
        found.ok_or_else(|| Problem::not_found("topic", name))
    }

    /// True of the built-in source and the tenant's topics.
    pub(crate) fn has_topic(&self, name: &TopicName) -> bool {
        name.is_firehose() || self.app.context.control.view().topic(&self.tenant, name).is_some()
    }

    /// The topic of that name, to be read.
    pub(crate) async fn readable(&self, name: &str) -> Result<Readable, Problem> {
        let name = self.topic_name(name)?;
        // The built-in source is made once.
        let incarnation =
            self.app.context.control.view().topic(&self.tenant, &name).map_or(0, |entry| entry.incarnation);
        self.app.describe(self.app.context.topics.of_tenant(&self.tenant, &name), incarnation).await
    }

    /// Asks for a change of something of the tenant's that is as expected.
    pub(crate) async fn submit(&self, expects: Expects, change: Change) -> Result<Applied, Problem> {
        self.submit_once(expects, None, change).await
    }

    /// The same, once, however often it is asked for.
    pub(crate) async fn submit_once(
        &self,
        expects: Expects,
        once: Option<Once>,
        change: Change,
    ) -> Result<Applied, Problem> {
        self.app.submit((&self.tenant, self.made), expects, once, change).await
    }

    /// There is no such tenant any more: it was removed while it was asked about.
    pub(crate) fn gone(&self) -> Problem {
        Problem::not_found("tenant", self.tenant.as_str())
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    /// A route that is behind no key has no caller: that is for the table of routes to prevent.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get().cloned().ok_or_else(|| Problem::internal(&"a request without a caller"))
    }
}
