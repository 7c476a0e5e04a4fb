//! Subscriptions and topics: what can be done with them, and the help for it.

use std::path::PathBuf;

use clap::Args as ClapArgs;

use super::{Form, IfMatch, Once, Shown};

#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Topics are put first, then subscriptions in the order of the file. What is as the file says is not put. What is changed
by somebody else meanwhile is left as it is (79). A file that says nothing of `state` does not end a pause.

The file holds YAML documents, each one `subscription: {…}` or `topic: {…}`:

  subscription:
    id: likes
    filter: {collections: [app.bsky.feed.like], operations: [create]}
    processor: {webhook: {url: http://127.0.0.1:8787/}}
    output: {topic: like-results}")]
pub(crate) struct Apply {
    /// The file, or - for standard input
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Change nothing: say what would change, and what a subscription would have got of the most recent events
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// With --dry-run: exit with 2 where something would change
    #[arg(long, requires = "dry_run")]
    pub(crate) diff_exit_code: bool,
    /// How it is said [default: lines for people]
    #[arg(short, long, value_enum)]
    pub(crate) output: Option<Form>,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "\
The file holds what changes, as JSON or YAML, and nothing else; null brings a default back (RFC 7396):

  echo 'collector: {maxEvents: 500}' | fpaas patch likes -f -")]
pub(crate) struct Patch {
    /// The subscription's id
    pub(crate) id: String,
    /// The file with the patch, or - for standard input
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Change nothing: show what it would be, and what it would have got of the most recent events
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) condition: IfMatch,
    #[command(flatten)]
    pub(crate) shown: Shown,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Get {
    /// Its id; without one, all of them
    pub(crate) id: Option<String>,
    /// Print its ETag alone, for --if-match
    #[arg(long, requires = "id")]
    pub(crate) etag: bool,
    #[command(flatten)]
    pub(crate) shown: Shown,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Status {
    /// Its id; without one, all of them
    pub(crate) id: Option<String>,
    #[command(flatten)]
    pub(crate) shown: Shown,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Topics {
    /// Its name; without one, all of them
    pub(crate) name: Option<String>,
    /// Print its ETag alone, for --if-match
    #[arg(long, requires = "name")]
    pub(crate) etag: bool,
    #[command(flatten)]
    pub(crate) shown: Shown,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct ShowOne {
    /// The subscription's id
    pub(crate) id: String,
    #[command(flatten)]
    pub(crate) shown: Shown,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Act {
    /// The subscription's id
    pub(crate) id: String,
    #[command(flatten)]
    pub(crate) condition: IfMatch,
    #[command(flatten)]
    pub(crate) once: Once,
    /// Show what it is now [default: say that it is done]
    #[arg(short, long, value_enum)]
    pub(crate) output: Option<Form>,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Events that are delivered and not acknowledged, and dead letters, go with it. Where there are any, it says how many and
asks; where nobody can be asked, --yes is needed.")]
pub(crate) struct Delete {
    /// The subscription's id
    pub(crate) id: String,
    /// Do not ask
    #[arg(long, short)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) condition: IfMatch,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Its records go with it. Where there are any, it says so and asks; where nobody can be asked, --yes is needed. A topic
that a subscription uses is not deleted.")]
pub(crate) struct DeleteTopic {
    /// Its name
    pub(crate) name: String,
    /// Do not ask
    #[arg(long, short)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) condition: IfMatch,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct RotateSecret {
    /// The subscription's id
    pub(crate) id: String,
    /// The new one, whsec_…; - for a line of standard input, where no list of processes shows it [default: one is made]
    #[arg(long, value_name = "SECRET")]
    pub(crate) secret: Option<String>,
    /// How long calls carry both signatures, such as 1h; 0s for not at all
    #[arg(long, default_value = "1day", value_name = "TIME")]
    pub(crate) overlap: String,
    #[command(flatten)]
    pub(crate) condition: IfMatch,
    #[command(flatten)]
    pub(crate) once: Once,
    #[command(flatten)]
    pub(crate) shown: Shown,
}
