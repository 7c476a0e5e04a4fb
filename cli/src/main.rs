//! The `fpaas` program: arguments to configuration to graph to run to exit code.
//!
//! The only crate that sees two stages. Does not own any decision of theirs.

mod args;
mod client;
mod clock;
mod cluster;
mod config;
mod config_check;
mod crash;
mod exit;
mod kafka_check;
mod mark;
mod migrate;
mod node;
mod out;
mod private;
mod signal;
mod supervise;
mod telemetry;
mod verify_receiver;

use std::process::ExitCode;

use clap::Parser;

use args::{Args, Command, OnConfig, OnKafka};
use config::Settings;
use exit::Failure;
use telemetry::Messages;

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(asked) => return exit::usage(&asked),
    };
    crash::install();
    let settings = args.settings();
    let messages = telemetry::install(args.filter(&settings), &settings);
    match run(args, settings, messages) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn run(args: Args, settings: Settings, messages: Messages) -> Result<(), Failure> {
    // Both HTTP and WebSocket clients take the process's provider; a second installation only says that it is there.
    drop(rustls::crypto::ring::default_provider().install_default());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    if !args.is_of_node() {
        telemetry::check(&settings)?;
    }
    let finished = runtime.block_on(async {
        match args.command {
            Command::Dev(_) | Command::Serve(_) => Box::pin(node::run(settings, messages)).await,
            Command::Config(OnConfig::Check(check)) => config_check::run(&settings, check.output),
            Command::Config(OnConfig::Default) => out::line(config::default::TEXT.trim_end()).map(drop),
            Command::Migrate(migrate) => Box::pin(migrate::run(migrate, &settings)).await,
            Command::Apply(apply) => client::apply::run(&args.server, &apply).await,
            Command::Patch(patch) => client::act::patch(&args.server, &patch).await,
            Command::Get(get) => client::show::get(&args.server, &get).await,
            Command::Delete(asked) => client::delete::run(&args.server, &asked).await,
            Command::Pause(asked) => client::act::set(&args.server, &asked, "pause").await,
            Command::Resume(asked) => client::act::set(&args.server, &asked, "resume").await,
            Command::RotateSecret(rotate) => client::act::rotate_secret(&args.server, &rotate).await,
            Command::Jmespath(jmespath) => client::jmespath::run(&args.server, &jmespath).await,
            Command::Completion(completion) => out::completion(completion.shell),
            Command::Status(status) => client::show::status(&args.server, &status).await,
            Command::Topics(topics) => client::show::topics(&args.server, &topics).await,
            Command::Kafka(OnKafka::Check(check)) => kafka_check::run(&settings, check.output).await,
            Command::Secret(one) => client::act::secret(&args.server, &one).await,
            Command::PublicKey(one) => client::act::public_key(&args.server, &one).await,
            Command::Replay(replay) => client::replay::run(&args.server, &replay).await,
            Command::Redrive(redrive) => client::redrive::run(&args.server, &redrive).await,
            Command::Test(test) => client::act::test(&args.server, &test).await,
            Command::Attempts(asked) => client::tap::attempts(&args.server, &asked).await,
            Command::DeadLetters(asked) => client::tap::dead_letters(&args.server, &asked).await,
            Command::DeleteTopic(topic) => client::delete::topic(&args.server, &topic).await,
            Command::Keys(keys) => client::keys::keys(&args.server, &keys).await,
            Command::Tenants(tenants) => client::keys::tenants(&args.server, &tenants).await,
            Command::Admin(asked) => client::admin::run(&args.server, &asked).await,
            Command::VerifyReceiver(asked) => Box::pin(verify_receiver::run(&asked)).await,
            Command::Tap(tap) => client::tap::run(&args.server, &tap).await,
        }
    });
    // What still blocks a thread (a read of standard input, say) must not hold up the exit.
    runtime.shutdown_timeout(std::time::Duration::from_millis(500));
    finished
}
