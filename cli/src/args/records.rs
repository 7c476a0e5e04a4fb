//! Records and events: reading them, trying them, delivering them again, and the help for it.

use std::path::PathBuf;

use clap::Args as ClapArgs;
use fpaas_core::TopicName;

use super::{Form, IfMatch, Once, Shown};

/// Where reading begins.
#[derive(Debug, ClapArgs)]
pub(crate) struct Where {
    /// Where to begin: earliest, latest, or a time such as 2026-11-23T20:00:00Z [default: earliest]
    #[arg(long, value_name = "TIME")]
    pub(crate) from: Option<String>,
    /// That partition alone
    #[arg(long, value_name = "N")]
    pub(crate) partition: Option<u32>,
    /// Where to begin in it; where there are several, --partition says in which
    #[arg(long, value_name = "OFFSET", conflicts_with = "from")]
    pub(crate) offset: Option<u64>,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "\
With --follow it goes on until it is stopped: where the server is away, it tries again for five minutes, says so on
standard error, and goes on behind the last record that it has shown.")]
pub(crate) struct Tap {
    /// The topic: `firehose`, or one of yours
    #[arg(value_parser = topic_name)]
    pub(crate) topic: TopicName,
    #[command(flatten)]
    pub(crate) place: Where,
    /// Wait for what comes
    #[arg(long, short, conflicts_with_all = ["partition", "offset"])]
    pub(crate) follow: bool,
    /// Stop after so many records
    #[arg(long, short = 'n', value_name = "N")]
    pub(crate) limit: Option<u64>,
    /// How they are shown; JSON is an object a line
    #[arg(short, long, value_enum, default_value = "json")]
    pub(crate) output: Form,
}

fn topic_name(text: &str) -> Result<TopicName, String> {
    TopicName::parse(text).map_err(|error| error.to_string())
}

#[derive(Debug, ClapArgs)]
pub(crate) struct DeadLetters {
    /// The subscription's id
    pub(crate) id: String,
    #[command(flatten)]
    pub(crate) place: Where,
    /// Stop after so many
    #[arg(long, short = 'n', value_name = "N")]
    pub(crate) limit: Option<u64>,
    /// How they are shown; JSON is an object a line
    #[arg(short, long, value_enum, default_value = "json")]
    pub(crate) output: Form,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Attempts {
    /// The subscription's id
    pub(crate) id: String,
    /// How they ended: acknowledged, a reason such as timeout, or failed for all that were not acknowledged
    #[arg(long, value_name = "WORD")]
    pub(crate) outcome: Option<String>,
    /// What was answered
    #[arg(long, value_name = "CODE")]
    pub(crate) status: Option<u16>,
    /// Of that batch alone: its webhook-id
    #[arg(long, value_name = "ID")]
    pub(crate) batch: Option<String>,
    /// Of that lane alone
    #[arg(long, value_name = "N")]
    pub(crate) lane: Option<u32>,
    /// Begun at this time or later
    #[arg(long, value_name = "TIME")]
    pub(crate) from: Option<String>,
    /// Begun before this time
    #[arg(long, value_name = "TIME")]
    pub(crate) to: Option<String>,
    /// Stop after so many
    #[arg(long, short = 'n', value_name = "N", default_value = "100")]
    pub(crate) limit: u64,
    /// How they are shown; JSON is an object a line
    #[arg(short, long, value_enum, default_value = "table")]
    pub(crate) output: Form,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Events are JSON, one after the other, as `fpaas tap` prints them (what is asked is then their `value`) or as they are:

  fpaas tap firehose -n 20 | fpaas jmespath 'commit.record.langs[0]'")]
pub(crate) struct Jmespath {
    /// The expression
    pub(crate) expression: String,
    /// The file with the events, or - for standard input
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    pub(crate) file: PathBuf,
    /// How the results are shown; JSON is an object a line
    #[arg(short, long, value_enum, default_value = "json")]
    pub(crate) output: Form,
}

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
    #[arg(long, conflicts_with_all = ["from", "to", "partition", "rate", "if_match", "idempotency_key"])]
    pub(crate) show: bool,
    /// Begin nothing: deliver no more of it
    #[arg(
        long,
        conflicts_with_all = ["from", "to", "partition", "rate", "wait", "show", "if_match", "idempotency_key"]
    )]
    pub(crate) cancel: bool,
    #[command(flatten)]
    pub(crate) condition: IfMatch,
    #[command(flatten)]
    pub(crate) once: Once,
    #[command(flatten)]
    pub(crate) shown: Shown,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Dead letters are delivered as they were, with the ids that they had, and stay among the dead letters. Those that come
while it runs are not in it.

  fpaas redrive likes --wait
  fpaas redrive likes --from 2026-11-23T20:00:00Z --reason status --reason timeout --rate 50
  fpaas redrive likes --show
  fpaas redrive likes --cancel")]
pub(crate) struct Redrive {
    /// The subscription's id
    pub(crate) id: String,
    /// Those that were given up on from then on: earliest, latest, or a time [default: earliest]
    #[arg(long, value_name = "TIME")]
    pub(crate) from: Option<String>,
    /// Those that were given up on before, in the same words [default: latest]
    #[arg(long, value_name = "TIME")]
    pub(crate) to: Option<String>,
    /// Those alone that were given up on for this reason (status, timeout, rejected...); may be given several times
    #[arg(long = "reason", value_name = "REASON")]
    pub(crate) reasons: Vec<String>,
    /// At most so many events a second, in all lanes together
    #[arg(long, value_name = "N")]
    pub(crate) rate: Option<u32>,
    /// Say how far it has come until it is done
    #[arg(long)]
    pub(crate) wait: bool,
    /// Begin nothing: show how far the last one has come
    #[arg(long, conflicts_with_all = ["from", "to", "reasons", "rate", "if_match", "idempotency_key"])]
    pub(crate) show: bool,
    /// Begin nothing: deliver no more of them
    #[arg(
        long,
        conflicts_with_all = ["from", "to", "reasons", "rate", "wait", "show", "if_match", "idempotency_key"]
    )]
    pub(crate) cancel: bool,
    #[command(flatten)]
    pub(crate) condition: IfMatch,
    #[command(flatten)]
    pub(crate) once: Once,
    #[command(flatten)]
    pub(crate) shown: Shown,
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
    #[command(flatten)]
    pub(crate) shown: Shown,
}
