//! What a person can type, and the help that teaches it.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use fpaas_core::TopicName;
use ipnet::IpNet;

mod resources;

pub(crate) use resources::{DeadLetters, DeleteTopic, Keys, Replay, Scope, Tenants, Test};

use crate::config::setting::{API_KEY, KAFKA_PROPERTIES, KAFKA_PROPERTY, MESSAGES, TOPIC_PREFIX};
use crate::config::{Flags, Origin, Role, Settings, Shared};

const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("FPAAS_COMMIT"), ")");

const EXAMPLES: &str = "\
Examples:
  fpaas dev                                     everything on this machine, from the public relay
  fpaas dev --upstream file:frames.bin.zst      the same from a recording
  fpaas dev --data node --log kafka://HOST:9092 the same on a Kafka cluster
  fpaas apply -f likes.yaml                     create or change subscriptions and topics
  fpaas apply -f likes.yaml --dry-run           say what that would change
  fpaas status likes                            is it moving, and if not, why
  fpaas status -o table                         the same of all, a line each
  fpaas tap like-results --from earliest        read a topic
  fpaas kafka check --log kafka://HOST:9092     say whether a Kafka cluster will do
  fpaas config default > fpaas.yaml             a file with every setting, for --config
  fpaas config check --config fpaas.yaml        say whether a node would start with it

Exit codes: 0 done, 1 failed, 64 wrong usage or input, 66 no such thing, 69 the server cannot be reached,
73 the data folder cannot be used, 77 wrong key, 78 the Kafka cluster is not as it must be.";

/// The ATProto firehose as configuration: filter, batch, call your endpoint, keep the results.
#[derive(Debug, Parser)]
#[command(name = "fpaas", version = VERSION, after_help = EXAMPLES, propagate_version = true)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) server: Server,
    #[command(flatten)]
    pub(crate) shared: Shared,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Which server the commands talk to; without these, the one that `fpaas dev` started last on this machine.
#[derive(Debug, Default, ClapArgs)]
pub(crate) struct Server {
    /// Address of the API, such as http://127.0.0.1:8080
    #[arg(long, global = true, env = "FPAAS_SERVER", value_name = "URL")]
    pub(crate) server: Option<String>,
    #[arg(
        id = API_KEY.flag,
        long = API_KEY.flag,
        global = true,
        env = API_KEY.variable,
        hide_env_values = true,
        value_name = "KEY",
        help = API_KEY.help
    )]
    pub(crate) api_key: Option<String>,
    /// With the operator's key: the tenant whose things these are [default: local]
    #[arg(long, global = true, env = "FPAAS_TENANT", value_name = "ID")]
    pub(crate) tenant: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run everything on this machine: relay, filters, webhooks, topics and API in one process
    Dev(Dev),
    /// Run the same as a service: webhooks by https at global addresses, unless networks are listed
    Serve(Serve),
    /// Move an embedded installation to a Kafka cluster, where its work goes on
    Migrate(Migrate),
    /// Create or change the subscriptions and topics of a YAML file
    Apply(Apply),
    /// Show a subscription, or list all of them
    Get(Get),
    /// Delete a subscription with its deliveries and dead letters (its output topic stays)
    Delete(One),
    /// Say whether a subscription moves, how far behind it is, and how its last call ended
    Status(Get),
    /// Show a topic, or list all of them
    Topics(Topics),
    /// Hold a subscription where it is: nothing is read for it, and its endpoint is not called
    Pause(One),
    /// Let a paused subscription go on where it is
    Resume(One),
    /// Give a webhook a new secret; calls carry the old one's signature too for a while
    RotateSecret(RotateSecret),
    /// Show what a webhook's calls are signed with
    Secret(One),
    /// Deliver a part of a subscription's source again
    Replay(Replay),
    /// Try a subscription's filter on events, and its webhook
    Test(Test),
    /// Show what was given up on, one JSON object a line, with the reasons
    DeadLetters(DeadLetters),
    /// Delete a topic that no subscription reads or writes, with its records
    DeleteTopic(DeleteTopic),
    /// Who may ask for a tenant
    #[command(subcommand)]
    Keys(Keys),
    /// For whom the server works: the operator's alone
    #[command(subcommand)]
    Tenants(Tenants),
    /// Read a topic, one JSON object a line
    Tap(Tap),
    /// Try a JMESPath on events, as a filter would
    Jmespath(Jmespath),
    /// Print what a shell needs to complete commands and flags
    Completion(Completion),
    /// What concerns a Kafka cluster
    #[command(subcommand)]
    Kafka(OnKafka),
    /// What concerns the settings of a node
    #[command(subcommand)]
    Config(OnConfig),
}

#[derive(Debug, Subcommand)]
pub(crate) enum OnConfig {
    /// Print a file with every setting, at its default, and what it is
    Default,
    /// Say whether a node would start with these settings, what each is, and where that was said
    Check(ConfigCheck),
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Takes the file, the flags and the variables of a node, and says everything that is wrong with them at once. Reads the
files that they name, and neither opens the log nor connects to anything: `fpaas kafka check` does. Exit codes: 0 a node
would start, 64 it would not.")]
pub(crate) struct ConfigCheck {
    /// Which command would take them
    #[arg(long = "for", value_enum, default_value = "serve", value_name = "COMMAND")]
    pub(crate) role: Role,
    /// How it is said
    #[arg(short, long, value_enum, default_value = "text")]
    pub(crate) output: Output,
    #[command(flatten)]
    pub(crate) settings: Flags<true>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum OnKafka {
    /// Say what is right and what is wrong with a cluster, line by line, and what to do
    Check(Check),
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Looks at the brokers and their settings, then makes a topic and a group under the prefix, commits one transaction, reads
it back, and removes both. Exit codes: 0 the cluster will do, 64 it does not let us in, 69 it cannot be reached, 78 it
is not as FPaaS needs it.")]
pub(crate) struct Check {
    /// The cluster: kafka://HOST:PORT,…
    #[arg(long, env = "FPAAS_LOG", value_name = "LOG")]
    pub(crate) log: String,
    #[command(flatten)]
    pub(crate) cluster: Cluster,
    /// How the lines look
    #[arg(short, long, value_enum, default_value = "text")]
    pub(crate) output: Output,
}

/// How what was found is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    Text,
    /// A JSON object a line.
    Json,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Without --upstream the public relay is read. Stop with Ctrl-C: everything is kept in the data folder, and the next
start goes on where this one stopped. Even kill -9 costs nothing.")]
pub(crate) struct Dev {
    #[command(flatten)]
    pub(crate) settings: Flags<false>,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Unlike `dev`, it prints no key: the key is in the data folder, or given by FPAAS_API_KEY. Webhooks are called by https
at global addresses alone; --allow-webhook-cidr lists networks whose addresses they may have, too.

  fpaas serve --data /var/lib/fpaas --listen 0.0.0.0:8080 --allow-webhook-cidr 10.20.0.0/16")]
pub(crate) struct Serve {
    #[command(flatten)]
    pub(crate) settings: Flags<true>,
}

/// The names on a Kafka cluster, and how its clients are.
#[derive(Debug, ClapArgs)]
pub(crate) struct Cluster {
    #[arg(
        long,
        env = TOPIC_PREFIX.variable,
        default_value = TOPIC_PREFIX.default(),
        value_name = "PREFIX",
        help = TOPIC_PREFIX.help
    )]
    pub(crate) topic_prefix: String,
    #[arg(
        long,
        env = KAFKA_PROPERTY.variable,
        hide_env_values = true,
        value_delimiter = '\n',
        value_name = "NAME=VALUE",
        help = KAFKA_PROPERTY.help
    )]
    pub(crate) kafka_property: Vec<String>,
    #[arg(long, env = KAFKA_PROPERTIES.variable, value_name = "FILE", help = KAFKA_PROPERTIES.help)]
    pub(crate) kafka_properties: Option<PathBuf>,
}

impl Args {
    /// Those of the node that is asked for. Of another command's, what is shown of messages counts.
    pub(crate) fn settings(&self) -> Settings {
        match &self.command {
            Command::Dev(dev) => Settings::resolve(Role::Dev, &dev.settings.0),
            Command::Serve(serve) => Settings::resolve(Role::Serve, &serve.settings.0),
            Command::Config(OnConfig::Check(check)) => Settings::resolve(check.role, &check.settings.0),
            _ => Settings::resolve(Role::Serve, &self.shared.0),
        }
    }

    /// True of a command that reads all settings of a node.
    pub(crate) const fn is_of_node(&self) -> bool {
        matches!(self.command, Command::Dev(_) | Command::Serve(_) | Command::Config(OnConfig::Check(_)))
    }

    /// The messages that are shown.
    pub(crate) fn filter<'a>(&self, settings: &'a Settings) -> &'a str {
        // What librdkafka says of a cluster that is being checked is in the lines of the check.
        if matches!(self.command, Command::Kafka(_)) && settings.origin(&MESSAGES, None) == Origin::Default {
            return "warn,fpaas_log=error";
        }
        settings.texts(&MESSAGES).first().map_or("", String::as_str)
    }
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "\
The installation must be stopped. First its frozen batches are finished: their webhooks are called, by https at global
addresses, unless --allow-webhook-cidr lists others. Then everything is copied and read back. Killed at any moment, the
same command goes on; until it has come to its end, neither side starts.

  fpaas migrate --from fpaas-data --to kafka://HOST:9092 --allow-webhook-cidr 127.0.0.0/8")]
pub(crate) struct Migrate {
    /// The data folder of the installation; it becomes that of a node on the cluster
    #[arg(long, value_name = "DIR")]
    pub(crate) from: PathBuf,
    /// The cluster: kafka://HOST:PORT,…
    #[arg(long, value_name = "LOG")]
    pub(crate) to: String,
    #[command(flatten)]
    pub(crate) cluster: Cluster,
    /// The name of the node that will go on there with this folder [default: one is made]
    #[arg(long, env = "FPAAS_NODE_ID", value_name = "NAME")]
    pub(crate) node_id: Option<String>,
    /// How long frozen batches may take to be finished
    #[arg(long, default_value = "60s", value_name = "TIME")]
    pub(crate) drain_wait: String,
    /// A network whose addresses webhooks may have meanwhile, by http too; may be given again
    #[arg(long, env = "FPAAS_ALLOW_WEBHOOK_CIDR", value_delimiter = ',', value_name = "CIDR")]
    pub(crate) allow_webhook_cidr: Vec<IpNet>,
    /// Give up a move that has not come to its end: what it made on the cluster is removed, and the folder starts again
    #[arg(long)]
    pub(crate) abandon: bool,
}

/// What a node can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Part {
    /// Reads the upstreams.
    Ingest,
    /// Filters.
    Router,
    /// Calls webhooks.
    Dispatcher,
    /// Answers REST requests.
    Api,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "\
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
}

/// How resources are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// As the API has them, with every field.
    Json,
    /// The same as YAML documents.
    Yaml,
    /// A line each, for people.
    Table,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Get {
    /// Its id; without one, all of them
    pub(crate) id: Option<String>,
    /// How they are shown
    #[arg(short, long, value_enum, default_value = "json")]
    pub(crate) output: Form,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct One {
    /// Its id
    pub(crate) id: String,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct RotateSecret {
    /// The subscription's id
    pub(crate) id: String,
    /// How long calls carry both signatures, such as 1h; 0s for not at all
    #[arg(long, default_value = "1day", value_name = "TIME")]
    pub(crate) overlap: String,
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
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "\
  fpaas completion bash > /etc/bash_completion.d/fpaas
  fpaas completion zsh > \"${fpath[1]}/_fpaas\"
  fpaas completion fish > ~/.config/fish/completions/fpaas.fish")]
pub(crate) struct Completion {
    /// Which shell
    pub(crate) shell: clap_complete::Shell,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Topics {
    /// Its name; without one, all of them
    pub(crate) name: Option<String>,
    /// How they are shown
    #[arg(short, long, value_enum, default_value = "json")]
    pub(crate) output: Form,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Tap {
    /// The topic: `firehose`, or one of yours
    #[arg(value_parser = topic_name)]
    pub(crate) topic: TopicName,
    /// Where to begin: earliest, latest, or a time such as 2026-11-23T20:00:00Z
    #[arg(long, default_value = "earliest")]
    pub(crate) from: String,
    /// Wait for what comes
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// Stop after so many records
    #[arg(long, short = 'n', value_name = "N")]
    pub(crate) limit: Option<u64>,
}

fn topic_name(text: &str) -> Result<TopicName, String> {
    TopicName::parse(text).map_err(|error| error.to_string())
}
