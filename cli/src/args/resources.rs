//! What can be asked of a server besides subscriptions themselves, and the help for it.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand, ValueEnum};

use super::Form;

#[derive(Debug, ClapArgs)]
#[command(after_help = "\
  fpaas replay likes --from 2026-11-23T20:00:00Z --rate 500 --wait
  fpaas replay likes --partition 3 --from-offset 100 --to-offset 200
  fpaas replay likes --show
  fpaas replay likes --cancel")]
pub(crate) struct Replay {
    /// The subscription's id
    pub(crate) id: String,
    /// Where to begin: earliest, latest, or a time [default: earliest]
    #[arg(long, value_name = "TIME")]
    pub(crate) from: Option<String>,
    /// Where to end, in the same words [default: what it has passed]
    #[arg(long, value_name = "TIME")]
    pub(crate) to: Option<String>,
    /// That partition of the source alone
    #[arg(long, value_name = "N")]
    pub(crate) partition: Option<u32>,
    /// In that partition: where to begin
    #[arg(long, value_name = "OFFSET", requires = "partition", conflicts_with = "from")]
    pub(crate) from_offset: Option<u64>,
    /// In that partition: where to end
    #[arg(long, value_name = "OFFSET", requires = "partition", conflicts_with = "to")]
    pub(crate) to_offset: Option<u64>,
    /// At most so many events a second, in each partition of the source
    #[arg(long, value_name = "N")]
    pub(crate) rate: Option<u32>,
    /// Say how far it has come until it is done
    #[arg(long)]
    pub(crate) wait: bool,
    /// Begin nothing: show how far the last one has come
    #[arg(long, conflicts_with_all = ["from", "to", "partition", "rate"])]
    pub(crate) show: bool,
    /// Begin nothing: deliver no more of it
    #[arg(long, conflicts_with_all = ["from", "to", "partition", "rate", "wait", "show"])]
    pub(crate) cancel: bool,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Without --file its filter is tried on the most recent events of its source. With --call its webhook is called once with
a batch of those that pass, marked as a test; nothing of what it answers is kept.

  fpaas tap firehose -n 50 | fpaas test likes --file - --call")]
pub(crate) struct Test {
    /// The subscription's id
    pub(crate) id: String,
    /// Events, JSON one after the other as `fpaas tap` prints them or as they are; - for standard input
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Call its webhook
    #[arg(long)]
    pub(crate) call: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct DeadLetters {
    /// The subscription's id
    pub(crate) id: String,
    /// Stop after so many
    #[arg(long, short = 'n', value_name = "N")]
    pub(crate) limit: Option<u64>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct DeleteTopic {
    /// Its name
    pub(crate) name: String,
}

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
    /// Create a tenant, or put it into another pool
    Put(PutTenant),
    /// Delete a tenant that has nothing but keys
    Delete(OneTenant),
}

#[derive(Debug, ClapArgs)]
pub(crate) struct PutTenant {
    /// Its id
    pub(crate) id: String,
    /// The pool it is in: its own, which has its name, or a shared one, whose name begins with _
    #[arg(long, value_name = "POOL")]
    pub(crate) pool: Option<String>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct OneTenant {
    /// Its id
    pub(crate) id: String,
}
