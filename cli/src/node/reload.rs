//! SIGHUP: the file of settings is read again, and what is shown of messages follows it. Everything else stays as it
//! was at the start; what has changed besides is named.

use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::config::setting::MESSAGES;
use crate::config::{Reading, Settings};
use crate::exit::Failure;
use crate::signal::HungUp;
use crate::telemetry::{self, Messages};

/// Follows the file of one node.
#[derive(Debug)]
pub(super) struct Reload {
    /// As they were at the start.
    settings: Settings,
    asked: HungUp,
}

impl Reload {
    /// From now on SIGHUP does not end the process.
    pub(super) fn listen(settings: Settings) -> std::io::Result<Self> {
        Ok(Self { settings, asked: HungUp::listen()? })
    }

    pub(super) async fn run(mut self, messages: Messages, shutdown: CancellationToken) -> Result<(), Failure> {
        while shutdown.run_until_cancelled(self.asked.next()).await.is_some() {
            self.read_again(&messages);
        }
        Ok(())
    }

    fn read_again(&self, shown: &Messages) {
        let Some(file) = self.settings.file() else {
            info!("SIGHUP: there is no file of settings to read again (--config)");
            return;
        };
        let (file, now) = (file.display(), self.settings.again());
        match follow(&now, shown) {
            Err(why) => return warn!(%file, "SIGHUP: the settings stay as they are: {why}"),
            Ok(messages) => info!(%file, messages, "SIGHUP: the file of settings was read again"),
        }
        for setting in now.changed(&self.settings).filter(|setting| setting.key != MESSAGES.key) {
            warn!(setting = setting.key, "it is not as it was at the start: it is taken at the next one");
        }
    }
}

/// What is shown from now on.
fn follow<'a>(now: &'a Settings, shown: &Messages) -> Result<&'a str, String> {
    let mut reading = Reading::new(now);
    telemetry::read(&mut reading);
    let messages = reading.text(&MESSAGES);
    let messages = reading.done(messages).map_err(|wrongs| wrongs.to_string())?;
    if messages != shown.get() {
        shown.set(messages)?;
    }
    Ok(messages)
}
