//! Logs to standard error; standard output is for what was asked for. What is shown of them can change at any time.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};

use fpaas_core::invariant::{self, InvariantId};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::config::setting::{MESSAGES, MESSAGES_JSON};
use crate::config::{Reading, Settings};
use crate::exit::Failure;

/// Which messages are shown, as long as the process runs. Clones are the same one.
#[derive(Clone)]
pub(crate) struct Messages {
    /// As it was given last.
    filter: Arc<Mutex<String>>,
    reload: Arc<dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync>,
}

/// Installs the subscriber, and the report of broken invariants. Whoever reads the settings says what is wrong with
/// them: until then, `info` is shown.
pub(crate) fn install(text: &str, settings: &Settings) -> Messages {
    let (text, filter) = parse(text).map_or_else(|_| ("info", EnvFilter::new("info")), |filter| (text, filter));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| Lines).with_target(false);
    // Nobody may be there to read: that is said there, too, and a panic is all that comes of it.
    let builder = builder.log_internal_errors(false);
    let reload: Arc<dyn Fn(_) -> _ + Send + Sync> = if Reading::new(settings).is_on(&MESSAGES_JSON) {
        let builder = builder.json().with_filter_reloading();
        let handle = builder.reload_handle();
        builder.init();
        Arc::new(move |filter| handle.reload(filter).map_err(|error| error.to_string()))
    } else {
        let builder = builder.with_ansi(io::stderr().is_terminal()).with_filter_reloading();
        let handle = builder.reload_handle();
        builder.init();
        Arc::new(move |filter| handle.reload(filter).map_err(|error| error.to_string()))
    };
    // Where nothing is installed a broken invariant panics: that is what tests want.
    if std::env::var("FPAAS_INVARIANTS").as_deref() != Ok("panic") {
        invariant::on_broken(report);
    }
    Messages { filter: Arc::new(Mutex::new(text.to_owned())), reload }
}

/// Looks whether the settings of messages are right.
pub(crate) fn read(reading: &mut Reading<'_>) {
    reading.one(&MESSAGES, |text| parse(text).map(drop));
    reading.is_on(&MESSAGES_JSON);
}

/// For a command that has no other settings.
pub(crate) fn check(settings: &Settings) -> Result<(), Failure> {
    let mut reading = Reading::new(settings);
    read(&mut reading);
    Ok(reading.done(Some(()))?)
}

impl Messages {
    /// What is shown, as it was given: `info`, or `warn,fpaas_router=debug`.
    pub(crate) fn get(&self) -> String {
        self.filter.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on this is shown, everywhere in the process. An error says what it must be, and nothing has changed.
    pub(crate) fn set(&self, text: &str) -> Result<(), String> {
        let filter = parse(text)?;
        // Held, so that what is said to be shown is what was set last.
        let mut current = self.filter.lock().unwrap_or_else(PoisonError::into_inner);
        (self.reload)(filter)?;
        text.clone_into(&mut current);
        Ok(())
    }
}

impl fmt::Debug for Messages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Messages").field(&self.get()).finish()
    }
}

/// A word alone would be a module, of which everything is shown, and nothing else: `inof` is a level misspelt.
fn parse(text: &str) -> Result<EnvFilter, String> {
    const RIGHT: &str = "must be a level such as info, or such as warn,fpaas_router=debug";
    let is_level = |word: &str| !word.trim().is_empty() && word.trim().parse::<LevelFilter>().is_ok();
    let is_word = |part: &str| part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_: ".contains(&byte));
    // In brackets a word is a field's.
    if !text.contains('[') && text.split(',').any(|part| is_word(part) && !is_level(part)) {
        return Err(RIGHT.to_owned());
    }
    EnvFilter::try_new(text).map_err(|error| format!("{RIGHT}: {error}"))
}

fn report(id: InvariantId, what: &str) {
    tracing::error!(invariant = %id, what, "an invariant is broken: this is a bug, please report it");
}

/// Standard error, where the live line of progress may stand: on a terminal it makes room for what is logged.
struct Lines;

impl Write for Lines {
    /// Called once with the whole of what is logged.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut out = io::stderr().lock();
        if out.is_terminal() {
            out.write_all(b"\r\x1b[2K")?;
        }
        out.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_that_is_misspelt_is_not_taken_for_a_module() {
        for right in ["info", "OFF", "warn,fpaas_router=debug", "fpaas_log::kafka=trace", "info,[scan{a}]=debug"] {
            assert!(parse(right).is_ok(), "{right}");
        }
        for wrong in ["inof", "", "warn,,info", "fpaas_router", "warn,fpaas_router=loud", "[a=debug"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_clone_says_what_was_set_last_and_what_is_wrong_is_not_set() {
        fn shared<T: Clone + Send + Sync + 'static>(it: &T) -> T {
            it.clone()
        }
        let loaded = Arc::new(Mutex::new(Vec::new()));
        let load = Arc::clone(&loaded);
        let reload = move |filter: EnvFilter| {
            load.lock().unwrap().push(filter.to_string());
            if filter.to_string() == "trace" { Err("gone".to_owned()) } else { Ok(()) }
        };
        let messages = Messages { filter: Arc::new(Mutex::new("info".to_owned())), reload: Arc::new(reload) };
        let clone = shared(&messages);
        clone.set("warn,fpaas_router=debug").unwrap();
        assert_eq!(messages.get(), "warn,fpaas_router=debug");
        assert!(messages.set("inof").unwrap_err().starts_with("must be a level"));
        assert_eq!(messages.set("trace"), Err("gone".to_owned()));
        assert_eq!((clone.get().as_str(), loaded.lock().unwrap().len()), ("warn,fpaas_router=debug", 2));
    }
}
