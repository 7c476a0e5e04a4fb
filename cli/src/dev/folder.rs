//! The data folder of `fpaas dev`: the log, the key and the node's name.
//!
//! The key is kept in a file of mode 0600. Does not own the lock: the embedded log locks its own folder.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use fpaas_api::ApiKey;
use fpaas_log::{Embedded, EmbeddedConfig};

use crate::client::Target;
use crate::exit::Failure;
use crate::private;

/// The node's name: a data folder has one process, so one name will do.
const NODE: &str = "dev";

#[derive(Debug)]
pub(super) struct Folder {
    key_text: String,
    key: ApiKey,
}

impl Folder {
    /// Opens or makes it, and the log in it. `given` replaces the stored key, once the log's lock says that the folder
    /// is ours.
    pub(super) fn open(
        path: &Path,
        given: Option<String>,
        config: EmbeddedConfig,
    ) -> Result<(Self, Arc<Embedded>), Failure> {
        let given = given.map(check).transpose()?;
        fs::create_dir_all(path).map_err(|error| unusable(path, &error))?;
        let log = Embedded::open(&path.join("log"), config).map_err(|error| Failure::Folder(error.to_string()))?;
        let file = path.join("api-key");
        let key_text = match given {
            Some(key) => key,
            None => stored(&file)?.map_or_else(generate, Ok)?,
        };
        private::store(&file, &key_text).map_err(|error| unusable(&file, &error))?;
        let key = ApiKey::new(&key_text);
        Ok((Self { key_text, key }, log))
    }

    pub(super) fn api_key(&self) -> &ApiKey {
        &self.key
    }

    pub(super) fn node(&self) -> &'static str {
        NODE
    }

    /// Where this process's API is and what opens it.
    pub(super) fn server(&self, address: SocketAddr) -> Target {
        let host = if address.ip().is_unspecified() { "127.0.0.1".to_owned() } else { address.ip().to_string() };
        let host = if host.contains(':') { format!("[{host}]") } else { host };
        Target { url: format!("http://{host}:{}", address.port()), key: self.key_text.clone() }
    }
}

fn unusable(path: &Path, error: &std::io::Error) -> Failure {
    let path = path.display();
    Failure::Folder(format!("the data folder {path} cannot be used: {error}; choose another with --data DIR"))
}

fn check(key: String) -> Result<String, Failure> {
    let printable = key.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    // A header's value loses what stands around it.
    if printable && key.trim() == key && (16..=200).contains(&key.len()) {
        return Ok(key);
    }
    Err(Failure::Usage(
        "--api-key: must be 16 to 200 printable ASCII characters, with no space at either end".to_owned(),
    ))
}

fn stored(file: &Path) -> Result<Option<String>, Failure> {
    match fs::read_to_string(file) {
        // A crash can leave the file empty: then there is no key yet.
        Ok(text) => Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unusable(file, &error)),
    }
}

fn generate() -> Result<String, Failure> {
    let mut bytes = [0u8; 24];
    getrandom::fill(&mut bytes).map_err(|error| Failure::Failed(format!("no random bytes: {error}")))?;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("fpaas_{hex}"))
}
