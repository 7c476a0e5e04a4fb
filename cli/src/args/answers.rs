//! What several commands have: how an answer is shown, and what a request depends on.

use clap::{Args as ClapArgs, ValueEnum};

/// How answers are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// As the API has them, with every field.
    Json,
    /// The same as YAML documents.
    Yaml,
    /// A line each, for people.
    Table,
}

#[derive(Clone, Copy, Debug, ClapArgs)]
pub(crate) struct Shown {
    /// How it is shown
    #[arg(short, long, value_enum, default_value = "json")]
    pub(crate) output: Form,
}

/// A condition (RFC 9110 section 13.1.1).
#[derive(Clone, Debug, Default, ClapArgs)]
pub(crate) struct IfMatch {
    /// Only while it is in this revision: `revision` of its status, or what --etag prints; * while it is there at all
    #[arg(long, value_name = "REVISION")]
    pub(crate) if_match: Option<String>,
}

/// What makes a request one that may be sent again.
#[derive(Clone, Debug, Default, ClapArgs)]
pub(crate) struct Once {
    /// A text of your choice: sent again within a day with the same request, that is not done again
    #[arg(long, value_name = "TEXT")]
    pub(crate) idempotency_key: Option<String>,
}
