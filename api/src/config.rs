//! What the API is told by the program.

use std::fmt;

use fpaas_core::TenantId;
use sha2::{Digest as _, Sha256};

use crate::family::Sources;

/// Settings of the API.
#[derive(Clone, Debug)]
pub struct Config {
    /// Whose resources the key opens.
    pub tenant: TenantId,
    /// The key.
    pub key: ApiKey,
    /// True in dev: webhooks may be `http`.
    pub allow_http: bool,
    /// The program's version, shown by `/healthz`.
    pub version: String,
    /// The commit it was built from, shown by `/metrics`.
    pub commit: String,
    /// True where whoever can connect may read `/metrics`; otherwise it needs the key.
    pub open_metrics: bool,
    /// What other stages count.
    pub sources: Sources,
}

/// A bearer key, kept as its SHA-256: what is not kept cannot be shown.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey([u8; 32]);

impl ApiKey {
    /// From the key itself.
    pub fn new(text: &str) -> Self {
        Self(Sha256::digest(text.as_bytes()).into())
    }

    /// Takes the same time whatever is given.
    pub(crate) fn opens(&self, given: &str) -> bool {
        let given = Self::new(given);
        let difference = self.0.iter().zip(given.0).fold(0, |sum, (ours, theirs)| sum | (ours ^ theirs));
        std::hint::black_box(difference) == 0
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(…)")
    }
}
