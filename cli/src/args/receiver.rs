//! What `fpaas verify-receiver` takes.

use std::path::PathBuf;

use clap::Args as ClapArgs;

use super::Output;

#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Sends made-up batches, forged and broken ones among them, and takes a minute or less. Every call has the header
`fpaas-test: true`; nothing is kept of what it answers. No server is needed: http and addresses of this machine and its
networks are called, too. Exit codes: 0 all is right (warnings are no failure), 69 it cannot be reached, 76 something is
wrong with it.

  fpaas verify-receiver http://127.0.0.1:8787/ --secret whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")]
pub(crate) struct VerifyReceiver {
    /// Where it listens
    pub(crate) url: String,
    /// What calls are signed with, whsec_…; - for a line of standard input, where no list of processes shows it
    #[arg(long, value_name = "SECRET", env = "FPAAS_WEBHOOK_SECRET", hide_env_values = true)]
    pub(crate) secret: String,
    /// Events that its batches are made of, JSON one after the other as `fpaas tap` prints them or as they are; - for
    /// standard input [default: likes that are made up]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) events: Option<PathBuf>,
    /// PEM: the certificate that it knows its caller by, and behind it those that lead to its authority; https alone
    #[arg(long, value_name = "FILE", requires = "client_key")]
    pub(crate) client_certificate: Option<PathBuf>,
    /// PEM: its private key, without a password
    #[arg(long, value_name = "FILE", requires = "client_certificate")]
    pub(crate) client_key: Option<PathBuf>,
    /// How long one answer may take: `timeoutMs` of the subscription, up to 30s
    #[arg(long, default_value = "30s", value_name = "TIME")]
    pub(crate) timeout: String,
    /// How it is said
    #[arg(short, long, value_enum, default_value = "text")]
    pub(crate) output: Output,
}
