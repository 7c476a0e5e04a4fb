//! Which server the commands talk to: flags, then environment, then the file that `fpaas dev` wrote last.

use std::path::PathBuf;

use super::Target;
use crate::args::Server;
use crate::exit::Failure;
use crate::private;

/// Fills in from the context file what flags and environment leave open.
pub(crate) fn find(server: &Server) -> Result<Target, Failure> {
    let text = |given: &Option<String>| given.clone().unwrap_or_default();
    let given = Target { url: text(&server.server), key: text(&server.api_key) };
    if !given.url.is_empty() && !given.key.is_empty() {
        return Ok(given);
    }
    let kept = load().ok_or_else(|| {
        let hint = "start `fpaas dev` first, or give --server and --api-key (FPAAS_SERVER, FPAAS_API_KEY)";
        Failure::Usage(format!("no server is known: {hint}"))
    })?;
    // The kept key opens the kept server and no other: it is not sent elsewhere.
    if !given.url.is_empty() && given.url.trim_end_matches('/') != kept.url && given.key.is_empty() {
        return Err(Failure::Usage(format!("--server {} needs --api-key", given.url)));
    }
    let or = |given: String, kept: String| if given.is_empty() { kept } else { given };
    Ok(Target { url: or(given.url, kept.url), key: or(given.key, kept.key) })
}

/// Remembers the server that was just started.
pub(crate) fn save(target: &Target) -> Result<(), Failure> {
    let Some(file) = file() else { return Ok(()) };
    let text = serde_json::to_string(target).map_err(|error| Failure::Failed(error.to_string()))?;
    let folder = file.parent().map_or(Ok(()), std::fs::create_dir_all);
    if let Err(error) = folder.and_then(|()| private::store(&file, &text)) {
        tracing::warn!(file = %file.display(), %error, "not kept: commands will need --server and --api-key");
    }
    Ok(())
}

fn load() -> Option<Target> {
    serde_json::from_str(&std::fs::read_to_string(file()?).ok()?).ok()
}

fn file() -> Option<PathBuf> {
    if let Some(file) = std::env::var_os("FPAAS_CONTEXT") {
        return Some(file.into());
    }
    let base = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from);
    let base = base.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".config")))?;
    Some(base.join("fpaas").join("context.json"))
}
