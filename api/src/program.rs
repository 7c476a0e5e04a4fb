//! What the program does for the API: it calls webhooks that are tried, and changes what is written to its log.

use std::fmt;
use std::sync::Arc;

use fpaas_state::{Trial, Tried};
use futures_util::future::BoxFuture;

/// Calls a webhook once. None of a subscription that has none.
#[derive(Clone)]
pub struct Webhooks(Arc<Call>);

type Call = dyn Fn(Trial) -> BoxFuture<'static, Option<Tried>> + Send + Sync;

impl Webhooks {
    /// From whatever makes the call.
    pub fn new(call: impl Fn(Trial) -> BoxFuture<'static, Option<Tried>> + Send + Sync + 'static) -> Self {
        Self(Arc::new(call))
    }

    pub(crate) fn call(&self, trial: Trial) -> BoxFuture<'static, Option<Tried>> {
        (self.0)(trial)
    }
}

impl fmt::Debug for Webhooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Webhooks(…)")
    }
}

/// The program's messages: what is shown of them, and how that is changed.
#[derive(Clone)]
pub struct Messages {
    get: Arc<Get>,
    set: Arc<Set>,
}

type Get = dyn Fn() -> String + Send + Sync;
type Set = dyn Fn(&str) -> Result<(), String> + Send + Sync;

impl Messages {
    /// `get` says the filter; `set` takes another one, or says what is wrong with it.
    pub fn new(
        get: impl Fn() -> String + Send + Sync + 'static,
        set: impl Fn(&str) -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        Self { get: Arc::new(get), set: Arc::new(set) }
    }

    pub(crate) fn get(&self) -> String {
        (self.get)()
    }

    pub(crate) fn set(&self, filter: &str) -> Result<(), String> {
        (self.set)(filter)
    }
}

impl fmt::Debug for Messages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Messages(…)")
    }
}
