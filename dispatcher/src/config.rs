//! What an operator decides about calls.

/// The settings of the dispatcher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Dev: `http` and endpoints on loopback and private networks may be called. Metadata services and the like never.
    pub allow_private: bool,
    /// Of the program, for `user-agent: fpaas/<version>`.
    pub version: String,
}
