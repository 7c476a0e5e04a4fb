//! What can go wrong with the server itself. What is wrong with a request is a [`crate::problem::Problem`].

/// Everything public in this crate answers with it.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The server ends with it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The listening socket cannot be used. The program stops.
    #[error("the API cannot listen: {0}")]
    Listen(#[source] std::io::Error),
}
