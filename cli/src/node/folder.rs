//! A node's data folder: the log and the key.
//!
//! One process has it at a time: what is in it names the node in the log, and two of one name would fence each other
//! for ever. The folder is for its owner alone, mode 0700, since webhooks' secrets and headers are in the log; files
//! that hold a key have mode 0600 besides.

use std::fs::{self, File, TryLockError};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use fpaas_api::ApiKey;
use tracing::warn;

use crate::client::Target;
use crate::exit::Failure;
use crate::mark;
use crate::private;

/// The node's name on an embedded log: a folder has one process, so one name will do.
pub(crate) const EMBEDDED_NODE: &str = "dev";
/// In the folder of an embedded log.
pub(crate) const EMBEDDED_LOG: &str = "log";
/// In the folder of a node on a Kafka cluster: its name there.
const NODE: &str = "node-id";
/// The longest name of a node: it is part of transactional ids and of groups' member names.
const NODE_BYTES_MAX: usize = 64;

/// How the node is called in its log.
#[derive(Clone, Copy, Debug)]
pub(super) enum Naming<'a> {
    /// One process has the log: one name will do.
    Alone,
    /// As it was said, or as it was made once and kept.
    Among(Option<&'a str>),
}

#[derive(Debug)]
pub(super) struct Folder {
    node: String,
    key_text: String,
    key: ApiKey,
    _lock: File,
}

/// What is wrong with what there is, before anything is made: a folder belongs to one kind of
/// log, and topics left behind in the other would be missed.
pub(super) fn check(path: &Path, naming: Naming<'_>) -> Result<(), Failure> {
    mark::refuse_folder(path, matches!(naming, Naming::Alone))?;
    let other = |kind: &str, hint: &str| {
        let path = path.display();
        Err(Failure::Usage(format!(
            "the data folder {path} is that of a node on {kind}; {hint}, or choose another with --data DIR"
        )))
    };
    match naming {
        Naming::Alone if path.join(NODE).exists() => other("Kafka", "give --log kafka://…"),
        Naming::Alone => Ok(()),
        Naming::Among(_) if path.join(EMBEDDED_LOG).exists() => other("an embedded log", "leave out --log"),
        Naming::Among(_) => Ok(()),
    }
}

impl Folder {
    /// Opens or makes it. `given` replaces the stored key.
    pub(super) fn open(path: &Path, given: Option<String>, naming: Naming<'_>) -> Result<Self, Failure> {
        fs::create_dir_all(path).map_err(|error| unusable(path, &error))?;
        let lock = lock(path)?;
        mark::refuse_folder(path, matches!(naming, Naming::Alone))?;
        close_to_others(path).map_err(|error| unusable(path, &error))?;
        let node = node(path, naming)?;
        let key_text = kept(&path.join("api-key"), given, || generate("fpaas_", 24))?;
        let key = ApiKey::new(&key_text);
        Ok(Self { node, key_text, key, _lock: lock })
    }

    pub(super) const fn api_key(&self) -> &ApiKey {
        &self.key
    }

    pub(super) fn node(&self) -> &str {
        &self.node
    }

    /// Where this process's API is and what opens it.
    pub(super) fn server(&self, address: SocketAddr) -> Target {
        let host = if address.ip().is_unspecified() { "127.0.0.1".to_owned() } else { address.ip().to_string() };
        let host = if host.contains(':') { format!("[{host}]") } else { host };
        Target { url: format!("http://{host}:{}", address.port()), key: self.key_text.clone() }
    }
}

/// What is in a data folder, also where it is a file system of its own. One that holds anything else is somebody's for
/// other reasons, too, such as a temporary folder, and keeps its mode.
const OURS: [&str; 10] = [
    "lock",
    "api-key",
    "api-key.new",
    NODE,
    "node-id.new",
    EMBEDDED_LOG,
    mark::FILE,
    "migration.new",
    mark::MOVED_LOG,
    "lost+found",
];

/// Makes the folder its owner's alone, or says that it is not.
fn close_to_others(path: &Path) -> std::io::Result<()> {
    if fs::metadata(path)?.permissions().mode() & 0o077 == 0 {
        return Ok(());
    }
    let is_ours =
        |entry: std::io::Result<fs::DirEntry>| entry.is_ok_and(|it| OURS.iter().any(|name| it.file_name() == *name));
    let ours = fs::read_dir(path)?.all(is_ours);
    if !ours || fs::set_permissions(path, fs::Permissions::from_mode(0o700)).is_err() {
        warn!(
            folder = %path.display(),
            "other users of this machine can open the data folder, where webhooks' secrets are: chmod 700 it, or use one of its own"
        );
    }
    Ok(())
}

/// Held by the process until it ends, however it ends.
pub(crate) fn lock(path: &Path) -> Result<File, Failure> {
    let file = File::options().create(true).truncate(false).write(true).open(path.join("lock"));
    let file = file.map_err(|error| unusable(path, &error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Failure::Folder(format!(
            "the data folder {} cannot be used: another fpaas is using it; stop that one, or choose another with --data DIR",
            path.display()
        ))),
        Err(TryLockError::Error(error)) => Err(unusable(path, &error)),
    }
}

fn node(path: &Path, naming: Naming<'_>) -> Result<String, Failure> {
    // Another process may have made it its own since it was looked at.
    check(path, naming)?;
    match naming {
        Naming::Alone => Ok(EMBEDDED_NODE.to_owned()),
        Naming::Among(given) => kept(&path.join(NODE), given.map(str::to_owned), new_name),
    }
}

/// A name that no other node has.
pub(crate) fn new_name() -> Result<String, Failure> {
    generate("node-", 6)
}

/// The folder is that of a node on a Kafka cluster from now on, of this name.
pub(crate) fn set_name(path: &Path, name: &str) -> Result<(), Failure> {
    let file = path.join(NODE);
    private::store(&file, name).map_err(|error| unusable(&file, &error))
}

/// The name of a node as it may be, or what it must be.
pub(crate) fn checked_name(name: &str) -> Result<String, String> {
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    if plain && (1..=NODE_BYTES_MAX).contains(&name.len()) {
        return Ok(name.to_owned());
    }
    Err(format!("must be 1 to {NODE_BYTES_MAX} of the characters a-z, A-Z, 0-9, '.', '_', '-'"))
}

/// The given text, else the stored one, else a new one; stored.
fn kept(file: &Path, given: Option<String>, new: impl FnOnce() -> Result<String, Failure>) -> Result<String, Failure> {
    let text = match given {
        Some(text) => text,
        None => stored(file)?.map_or_else(new, Ok)?,
    };
    private::store(file, &text).map_err(|error| unusable(file, &error))?;
    Ok(text)
}

fn unusable(path: &Path, error: &std::io::Error) -> Failure {
    let path = path.display();
    Failure::Folder(format!("the data folder {path} cannot be used: {error}; choose another with --data DIR"))
}

/// The operator's key as it may be, or what it must be.
pub(super) fn checked_key(key: &str) -> Result<String, &'static str> {
    let printable = key.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    // A header's value loses what stands around it.
    if printable && key.trim() == key && (16..=200).contains(&key.len()) {
        return Ok(key.to_owned());
    }
    Err("must be 16 to 200 printable ASCII characters, with no space at either end")
}

fn stored(file: &Path) -> Result<Option<String>, Failure> {
    match fs::read_to_string(file) {
        // A crash can leave the file empty: then there is nothing yet.
        Ok(text) => Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unusable(file, &error)),
    }
}

fn generate(prefix: &str, bytes: usize) -> Result<String, Failure> {
    let mut bytes = vec![0u8; bytes];
    getrandom::fill(&mut bytes).map_err(|error| Failure::Failed(format!("no random bytes: {error}")))?;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("{prefix}{hex}"))
}
