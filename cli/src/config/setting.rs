//! The table of settings: of each its key in a file, its flag, its variable, and how it is written.
//!
//! What a setting is by default stands in `default.yaml` alone, and what a text means is said where it is read
//! (`node/plan.rs`).

use clap::{Arg, ArgAction};

use super::default;

/// How a setting is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Text, also an address or a path.
    Text,
    /// A whole number.
    Number,
    /// true or false; the flag alone is true.
    Switch,
    /// Any number of texts; in one flag and in a variable with this between them.
    List(char),
}

/// One setting.
#[derive(Debug)]
pub(crate) struct Setting {
    /// In a file.
    pub(crate) key: &'static str,
    /// Without its `--`.
    pub(crate) flag: &'static str,
    pub(crate) variable: &'static str,
    /// What a value is called in the help.
    value: &'static str,
    pub(crate) kind: Kind,
    /// True where nothing may show it.
    pub(crate) secret: bool,
    /// True where `fpaas dev` has no such setting.
    pub(crate) serve_only: bool,
    pub(crate) help: &'static str,
}

impl Setting {
    const fn new([key, flag, variable, value]: [&'static str; 4], kind: Kind, help: &'static str) -> Self {
        Self { key, flag, variable, value, kind, secret: false, serve_only: false, help }
    }

    const fn secret(self) -> Self {
        Self { secret: true, ..self }
    }

    const fn of_serve(self) -> Self {
        Self { serve_only: true, ..self }
    }

    /// As a flag and a variable. Any text is taken: what is wrong with it is said with everything else that is wrong.
    pub(crate) fn argument(&self) -> Arg {
        let argument = Arg::new(self.flag).long(self.flag).env(self.variable).value_name(self.value).help(self.help);
        let argument = argument.hide_env_values(self.secret);
        let defaults = default::texts(self).iter().map(String::as_str);
        match self.kind {
            Kind::Text | Kind::Number => argument.default_values(defaults),
            Kind::Switch => argument.num_args(0..=1).require_equals(true).default_missing_value("true"),
            Kind::List(between) => argument.action(ArgAction::Append).value_delimiter(between).default_values(defaults),
        }
    }
}

pub(crate) static DATA: Setting = Setting::new(
    ["data", "data", "FPAAS_DATA", "DIR"],
    Kind::Text,
    "Folder for the key and, with an embedded log, topics and positions; made if it is not there",
);
pub(crate) static LISTEN: Setting = Setting::new(
    ["listen", "listen", "FPAAS_LISTEN", "ADDRESS"],
    Kind::Text,
    "Address of the API; port 0 picks a free one",
);
pub(crate) static UPSTREAM: Setting = Setting::new(
    ["upstream", "upstream", "FPAAS_UPSTREAM", "URL"],
    Kind::List('\n'),
    "Where frames come from: ws://…, wss://… or file:PATH[?speed=max|Nx]; may be given again",
);
pub(crate) static UPSTREAM_CA: Setting = Setting::new(
    ["upstreamCa", "upstream-ca", "FPAAS_UPSTREAM_CA", "FILE"],
    Kind::Text,
    "Certificate authorities that wss:// upstreams may have besides the public ones: a PEM file",
);
pub(crate) static APPLY: Setting = Setting::new(
    ["apply", "apply", "FPAAS_APPLY", "FILE"],
    Kind::Text,
    "Apply this file before the first frame is read",
);
pub(crate) static EXIT_WHEN_IDLE: Setting = Setting::new(
    ["exitWhenIdle", "exit-when-idle", "FPAAS_EXIT_WHEN_IDLE", "BOOL"],
    Kind::Switch,
    "Stop once the recordings are read and everything is delivered; with a relay alone there is no such moment",
);
pub(crate) static PARTITIONS: Setting = Setting::new(
    ["partitions", "partitions", "FPAAS_PARTITIONS", "N"],
    Kind::Number,
    "Partitions of the firehose topic, fixed when it is made [default: 4 for dev, 16 for serve]",
);
pub(crate) static LOG: Setting = Setting::new(
    ["log", "log", "FPAAS_LOG", "LOG"],
    Kind::Text,
    "Where the topics are: `embedded` is the data folder, kafka://HOST:PORT,… a Kafka cluster",
);
pub(crate) static TOPIC_PREFIX: Setting = Setting::new(
    ["topicPrefix", "topic-prefix", "FPAAS_TOPIC_PREFIX", "PREFIX"],
    Kind::Text,
    "What the names of topics, groups and transactional ids begin with on a Kafka cluster",
);
pub(crate) static KAFKA_PROPERTY: Setting = Setting::new(
    ["kafkaProperty", "kafka-property", "FPAAS_KAFKA_PROPERTY", "NAME=VALUE"],
    Kind::List('\n'),
    "A property of librdkafka, such as security.protocol=SASL_SSL; may be given again",
)
.secret();
pub(crate) static KAFKA_PROPERTIES: Setting = Setting::new(
    ["kafkaProperties", "kafka-properties", "FPAAS_KAFKA_PROPERTIES", "FILE"],
    Kind::Text,
    "A file of such properties, one a line: passwords are best kept there, where no list of processes shows them",
);
pub(crate) static NODE_ID: Setting = Setting::new(
    ["nodeId", "node-id", "FPAAS_NODE_ID", "NAME"],
    Kind::Text,
    "This node's name on a Kafka cluster, the same after every restart [default: made once, kept in the data folder]",
);
pub(crate) static FSYNC: Setting = Setting::new(
    ["fsync", "fsync", "FPAAS_FSYNC", "WHEN"],
    Kind::Text,
    "When an embedded log is flushed to the disk: always, never, or every so often (such as 50ms)",
);
pub(crate) static ONLY: Setting = Setting::new(
    ["only", "only", "FPAAS_ONLY", "PARTS"],
    Kind::List(','),
    "What this node does, such as router,dispatcher; the others are other nodes' work [default: everything]",
)
.of_serve();
pub(crate) static ALLOW_WEBHOOK_CIDR: Setting = Setting::new(
    ["allowWebhookCidr", "allow-webhook-cidr", "FPAAS_ALLOW_WEBHOOK_CIDR", "CIDR"],
    Kind::List(','),
    "A network whose addresses webhooks may have, by http too; may be given again",
)
.of_serve();
pub(crate) static ALLOW_WEBHOOK_HOST: Setting = Setting::new(
    ["allowWebhookHost", "allow-webhook-host", "FPAAS_ALLOW_WEBHOOK_HOST", "NAME"],
    Kind::List(','),
    "A host whose name may resolve to private addresses, by https: a name or *.SUFFIX; may be given again",
)
.of_serve();
pub(crate) static ONLY_WEBHOOK_HOST: Setting = Setting::new(
    ["onlyWebhookHost", "only-webhook-host", "FPAAS_ONLY_WEBHOOK_HOST", "NAME"],
    Kind::List(','),
    "A host that webhooks may be at, and no others: a name or *.SUFFIX; may be given again [default: any]",
);
pub(crate) static WEBHOOK_CA: Setting = Setting::new(
    ["webhookCa", "webhook-ca", "FPAAS_WEBHOOK_CA", "FILE"],
    Kind::Text,
    "Certificate authorities that webhooks may have besides the system's: a PEM file",
);
pub(crate) static WEBHOOK_PROXY: Setting = Setting::new(
    ["webhookProxy", "webhook-proxy", "FPAAS_WEBHOOK_PROXY", "URL"],
    Kind::Text,
    "A proxy that webhooks are called through: http://[USER:PASSWORD@]HOST:PORT",
)
.secret();
pub(crate) static MESSAGES: Setting = Setting::new(
    ["messages", "messages", "FPAAS_MESSAGES", "FILTER"],
    Kind::Text,
    "Which messages are shown, such as `info` or `warn,fpaas_router=debug`; fewer for kafka check",
);
pub(crate) static MESSAGES_JSON: Setting = Setting::new(
    ["messagesJson", "messages-json", "FPAAS_MESSAGES_JSON", "BOOL"],
    Kind::Switch,
    "Messages as JSON, one object a line",
);
pub(crate) static API_KEY: Setting = Setting::new(
    ["apiKey", "api-key", "FPAAS_API_KEY", "KEY"],
    Kind::Text,
    "Key of the API; for a node: 16 to 200 printable ASCII characters that replace the key in the data folder",
)
.secret();

/// All there are, in the order of `default.yaml`.
pub(crate) static ALL: [&Setting; 22] = [
    &DATA,
    &LISTEN,
    &UPSTREAM,
    &UPSTREAM_CA,
    &APPLY,
    &EXIT_WHEN_IDLE,
    &PARTITIONS,
    &LOG,
    &TOPIC_PREFIX,
    &KAFKA_PROPERTY,
    &KAFKA_PROPERTIES,
    &NODE_ID,
    &FSYNC,
    &ONLY,
    &ALLOW_WEBHOOK_CIDR,
    &ALLOW_WEBHOOK_HOST,
    &ONLY_WEBHOOK_HOST,
    &WEBHOOK_CA,
    &WEBHOOK_PROXY,
    &MESSAGES,
    &MESSAGES_JSON,
    &API_KEY,
];
/// Which endpoints are called, and how.
pub(crate) static WEBHOOKS: [&Setting; 5] =
    [&ALLOW_WEBHOOK_CIDR, &ALLOW_WEBHOOK_HOST, &ONLY_WEBHOOK_HOST, &WEBHOOK_CA, &WEBHOOK_PROXY];
/// Those that every command has besides the key.
pub(crate) static SHARED: [&Setting; 2] = [&MESSAGES, &MESSAGES_JSON];
