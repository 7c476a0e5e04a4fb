//! What the API is told by the program.

use fpaas_core::{KeyHash, TenantId};

use crate::family::Sources;
use crate::program::{Messages, Webhooks};

/// Settings of the API.
#[derive(Clone, Debug)]
pub struct Config {
    /// Whom the operator acts for where a request names no tenant.
    pub tenant: TenantId,
    /// The operator's key.
    pub key: ApiKey,
    /// True in dev: webhooks may be `http`.
    pub allow_http: bool,
    /// The program's version, shown by `/healthz`.
    pub version: String,
    /// The commit it was built from, shown by `/metrics`.
    pub commit: String,
    /// True where whoever can connect may read `/metrics`; otherwise it needs the operator's key.
    pub open_metrics: bool,
    /// What other stages count.
    pub sources: Sources,
    /// What the program says.
    pub messages: Messages,
    /// Calls webhooks that are tried.
    pub webhooks: Webhooks,
}

/// A bearer key, kept as its hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey(KeyHash);

impl ApiKey {
    /// From the key itself.
    pub fn new(text: &str) -> Self {
        Self(KeyHash::of(text))
    }

    /// Takes the same time whatever is given.
    pub(crate) fn opens(&self, given: &KeyHash) -> bool {
        self.0 == *given
    }
}
