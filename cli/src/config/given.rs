//! What was said by flags and variables, as texts: what they mean is not looked at here.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Args, Command, Error, FromArgMatches};

use super::Source;
use super::setting::{
    ALL, API_KEY, KAFKA_PROPERTIES, KAFKA_PROPERTY, LOG, NODE_ID, SHARED, Setting, TOPIC_PREFIX, WEBHOOKS,
};

const FILE: &str = "config";

/// Of each setting that was given, from where, and its texts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Given {
    /// The file with the others.
    pub(super) file: Option<PathBuf>,
    pub(super) texts: BTreeMap<&'static str, (Source, Vec<String>)>,
}

/// The flags of a node: those of `fpaas serve`, or of `fpaas dev`.
#[derive(Clone, Debug)]
pub(crate) struct Flags<const SERVE: bool>(pub(crate) Given);

/// The flags of what is about a cluster: those of `fpaas migrate`, or of `fpaas kafka check`.
#[derive(Clone, Debug)]
pub(crate) struct OnCluster<const MIGRATE: bool>(pub(crate) Given);

/// The flags of every command that are settings of a node, too.
#[derive(Clone, Debug)]
pub(crate) struct Shared(pub(crate) Given);

impl Given {
    /// A variable that is empty is one that is not there: that is how programs pass on what they do not have.
    fn of(matches: &ArgMatches) -> Self {
        let given = ALL.into_iter().filter_map(|setting| {
            let (source, texts) = found(matches, setting.flag)?;
            Some((setting.key, (source, texts)))
        });
        let file = found(matches, FILE).and_then(|(_, texts)| texts.into_iter().next());
        Self { file: file.map(PathBuf::from), texts: given.collect() }
    }
}

/// Nothing where the command has no such flag.
fn found(matches: &ArgMatches, flag: &str) -> Option<(Source, Vec<String>)> {
    let raw = matches.try_get_raw(flag).ok()??;
    let texts: Vec<_> = raw.map(|text| text.to_string_lossy().into_owned()).collect();
    match matches.value_source(flag)? {
        ValueSource::CommandLine => Some((Source::Flag, texts)),
        ValueSource::EnvVariable if texts.iter().any(|text| !text.is_empty()) => Some((Source::Environment, texts)),
        _ => None,
    }
}

fn file() -> Arg {
    let help = "A file with settings, such as `fpaas config default` prints; what is given otherwise counts more";
    Arg::new(FILE).long(FILE).env("FPAAS_CONFIG").value_name("FILE").help(help)
}

impl<const SERVE: bool> Args for Flags<SERVE> {
    fn augment_args(command: Command) -> Command {
        let is_of_all = |key: &str| key == API_KEY.key || SHARED.iter().any(|setting| setting.key == key);
        let own = ALL.into_iter().filter(|setting| !is_of_all(setting.key) && (SERVE || !setting.serve_only));
        command.arg(file()).args(own.map(Setting::argument))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<const SERVE: bool> FromArgMatches for Flags<SERVE> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        Ok(Self(Given::of(matches)))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl<const MIGRATE: bool> Args for OnCluster<MIGRATE> {
    fn augment_args(command: Command) -> Command {
        let command = command.arg(file());
        let command = if MIGRATE {
            command.arg(NODE_ID.argument()).args(WEBHOOKS.map(Setting::argument))
        } else {
            // It has no default: a log of one's own is no cluster.
            let log = LOG.argument().help("The cluster: kafka://HOST:PORT,…").default_values(None::<&str>);
            command.arg(log)
        };
        command.args([&TOPIC_PREFIX, &KAFKA_PROPERTY, &KAFKA_PROPERTIES].map(Setting::argument))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<const MIGRATE: bool> FromArgMatches for OnCluster<MIGRATE> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        Ok(Self(Given::of(matches)))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for Shared {
    fn augment_args(command: Command) -> Command {
        command.args(SHARED.into_iter().map(|setting| setting.argument().global(true)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Shared {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        Ok(Self(Given::of(matches)))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
