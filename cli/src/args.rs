//! What a person can type, and the help that teaches it.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};

mod answers;
mod operator;
mod receiver;
mod records;
mod resources;

pub(crate) use answers::{Form, IfMatch, Once, Shown};
pub(crate) use operator::{Admin, Keys, Scope, Tenants};
pub(crate) use receiver::VerifyReceiver;
pub(crate) use records::{Attempts, DeadLetters, Jmespath, Redrive, Replay, Tap, Test, Where};
pub(crate) use resources::{Act, Apply, Delete, DeleteTopic, Get, Patch, RotateSecret, ShowOne, Status, Topics};

use crate::config::setting::{API_KEY, MESSAGES};
use crate::config::{Flags, OnCluster, Origin, Role, Settings, Shared};

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

Exit codes: 0 done, 1 failed, 2 something would change (--diff-exit-code), 64 wrong usage or
input, 66 no such thing, 69 the server cannot be reached, 73 the data folder cannot be used,
75 not now: try again, 76 the receiver is not as it must be, 77 wrong key or scope,
78 the Kafka cluster is not as it must be, 79 refused beside what is there, or changed since it
was read.";

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
    /// Create or change the subscriptions and topics of a YAML file, as far as they differ
    Apply(Apply),
    /// Change a part of a subscription: a merge patch
    Patch(Patch),
    /// Show a subscription, or list all of them
    Get(Get),
    /// Delete a subscription with its deliveries and dead letters (its output topic stays)
    Delete(Delete),
    /// Say whether a subscription moves, how far behind it is, and how its last call ended
    Status(Status),
    /// Show a topic, or list all of them
    Topics(Topics),
    /// Hold a subscription where it is: nothing is read for it, and its endpoint is not called
    Pause(Act),
    /// Let a paused subscription go on where it is
    Resume(Act),
    /// Give a webhook a new secret; calls carry the old one's signature too for a while
    RotateSecret(RotateSecret),
    /// Show what a webhook's calls are signed with
    Secret(ShowOne),
    /// Show what the v1a signatures of a webhook's calls are checked with
    PublicKey(ShowOne),
    /// Deliver a part of a subscription's source again
    Replay(Replay),
    /// Deliver a subscription's dead letters again
    Redrive(Redrive),
    /// Try a subscription's filter on events, and its webhook
    Test(Test),
    /// Show what was given up on, one JSON object a line, with the reasons
    DeadLetters(DeadLetters),
    /// How the calls of a subscription's webhook ended, the newest first
    Attempts(Attempts),
    /// Delete a topic that no subscription reads or writes, with its records
    DeleteTopic(DeleteTopic),
    /// Who may ask for a tenant
    #[command(subcommand)]
    Keys(Keys),
    /// For whom the server works: the operator's alone
    #[command(subcommand)]
    Tenants(Tenants),
    /// How a node is, and what it says: the operator's alone
    #[command(subcommand)]
    Admin(Admin),
    /// Read a topic, one JSON object a line
    Tap(Tap),
    /// Try a JMESPath on events, as a filter would
    Jmespath(Jmespath),
    /// Send a webhook receiver of yours what FPaaS sends, and what it must refuse, and say what is wrong with it
    VerifyReceiver(VerifyReceiver),
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
it back, and removes both. With --config, the cluster is that of a node's file. Exit codes: 0 the cluster will do, 64 it
does not let us in, 69 it cannot be reached, 78 it is not as FPaaS needs it.")]
pub(crate) struct Check {
    #[command(flatten)]
    pub(crate) settings: OnCluster<false>,
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

impl Args {
    /// Those of the node that is asked for, or of the cluster. Of another command's, what is shown of messages counts.
    pub(crate) fn settings(&self) -> Settings {
        match &self.command {
            Command::Dev(dev) => Settings::resolve(Role::Dev, &dev.settings.0),
            Command::Serve(serve) => Settings::resolve(Role::Serve, &serve.settings.0),
            Command::Config(OnConfig::Check(check)) => Settings::resolve(check.role, &check.settings.0),
            Command::Kafka(OnKafka::Check(check)) => Settings::resolve(Role::Serve, &check.settings.0),
            Command::Migrate(migrate) => Settings::resolve(Role::Serve, &migrate.settings.0),
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
    /// The cluster: kafka://HOST:PORT,… [default: `log` of --config]
    #[arg(long, value_name = "LOG")]
    pub(crate) to: Option<String>,
    #[command(flatten)]
    pub(crate) settings: OnCluster<true>,
    /// How long frozen batches may take to be finished
    #[arg(long, default_value = "60s", value_name = "TIME")]
    pub(crate) drain_wait: String,
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
  fpaas completion bash > /etc/bash_completion.d/fpaas
  fpaas completion zsh > \"${fpath[1]}/_fpaas\"
  fpaas completion fish > ~/.config/fish/completions/fpaas.fish")]
pub(crate) struct Completion {
    /// Which shell
    pub(crate) shell: clap_complete::Shell,
}
