//! What stands in for the network and for chance: with it a run is a simulation, and can be repeated.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response};

/// Answers calls in place of endpoints. Timeouts, bounds and what an answer means stay the dispatcher's.
pub trait Outside: Send + Sync + std::fmt::Debug {
    /// The answer to a call, or how it ended without one. Dropped where its time is over.
    fn answer(&self, request: Request<Bytes>) -> BoxFuture<'_, Result<Response<Bytes>, Ended>>;

    /// Uniform in 0..1: spreads retries.
    fn random(&self) -> f64;
}

/// A call without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// There was no connection.
    NoConnection,
    /// It ended before the answer did.
    Cut,
}
