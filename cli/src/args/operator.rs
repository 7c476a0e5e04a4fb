//! Keys, tenants and nodes: what can be asked of a server by whoever keeps it, and the help for it.

use clap::{Args as ClapArgs, Subcommand, ValueEnum};

use super::{Form, IfMatch, Once, Shown};

/// What a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scope {
    /// See what there is, but for secrets.
    Read,
    /// Change it.
    Write,
    /// Make keys, too.
    Admin,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Keys {
    /// List the tenant's keys
    List(Listed),
    /// Make a key: its text is shown this once
    Create(NewKey),
    /// Delete a key: it opens nothing any more
    Delete(OneKey),
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Listed {
    /// How they are shown
    #[arg(short, long, value_enum, default_value = "table")]
    pub(crate) output: Form,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct NewKey {
    /// What it may do, such as write; may be given again
    #[arg(long, value_enum, value_name = "SCOPE", required = true, value_delimiter = ',')]
    pub(crate) scope: Vec<Scope>,
    /// What it is for, in your words
    #[arg(long, default_value = "", value_name = "TEXT")]
    pub(crate) description: String,
    /// From when on it opens nothing, such as 2027-01-31T00:00:00Z
    #[arg(long, value_name = "TIME")]
    pub(crate) expires: Option<String>,
    #[command(flatten)]
    pub(crate) once: Once,
    #[command(flatten)]
    pub(crate) shown: Shown,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct OneKey {
    /// Its id: the part between fpaas_ and the next _
    pub(crate) id: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Tenants {
    /// List all tenants
    List(Listed),
    /// Show a tenant: its pool, and whether it moves
    Get(GetTenant),
    /// Create a tenant, or put it into another pool
    Put(PutTenant),
    /// Delete a tenant that has nothing but keys
    Delete(DeleteTenant),
}

#[derive(Debug, ClapArgs)]
pub(crate) struct GetTenant {
    /// Its id
    pub(crate) id: String,
    /// Print its ETag alone, for --if-match
    #[arg(long)]
    pub(crate) etag: bool,
    #[command(flatten)]
    pub(crate) shown: Shown,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct PutTenant {
    /// Its id
    pub(crate) id: String,
    /// The pool it is in: its own, which has its name, or a shared one, whose name begins with _
    #[arg(long, value_name = "POOL")]
    pub(crate) pool: Option<String>,
    #[command(flatten)]
    pub(crate) condition: IfMatch,
    #[command(flatten)]
    pub(crate) shown: Shown,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct DeleteTenant {
    /// Its id
    pub(crate) id: String,
    #[command(flatten)]
    pub(crate) condition: IfMatch,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Admin {
    /// Show how many commands the node has applied, and a digest of all that they have come to
    Control(Shown),
    /// Show which messages the node writes to its log, or have it write others until it is started again
    Messages(Messages),
    /// Say whether the node answers and can be used; where it cannot yet, end with 75
    Ready(Shown),
    /// Print what the node counts, as OpenMetrics text
    Metrics,
    /// Print the OpenAPI document that the node serves
    Openapi(Shown),
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Messages {
    /// Those that it shall write, such as info or warn,fpaas_router=debug
    #[arg(long, value_name = "FILTER")]
    pub(crate) set: Option<String>,
    #[command(flatten)]
    pub(crate) shown: Shown,
}
