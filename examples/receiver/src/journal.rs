//! What was called, one JSON object per call: so that one can check afterwards that repeats were the same.

use std::io::Write;
use std::sync::{Mutex, PoisonError};

use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::likes;

/// One call and how it was answered.
#[derive(Debug)]
pub(crate) struct Entry<'a> {
    pub(crate) id: &'a str,
    pub(crate) body: &'a [u8],
    pub(crate) signed: Result<(), &'static str>,
    pub(crate) status: u16,
}

/// A file, standard output, or nothing.
pub(crate) struct Journal(Option<Mutex<Box<dyn Write + Send>>>);

impl Journal {
    /// `-` is standard output.
    pub(crate) fn open(name: Option<&str>) -> std::io::Result<Self> {
        let to: Box<dyn Write + Send> = match name {
            None => return Ok(Self(None)),
            Some("-") => Box::new(std::io::stdout()),
            Some(file) => Box::new(std::fs::File::options().create(true).append(true).open(file)?),
        };
        Ok(Self(Some(Mutex::new(to))))
    }

    /// Before the call is answered. A journal that cannot be written is said once a call, and the call goes on.
    pub(crate) fn write(&self, entry: &Entry<'_>) {
        let Some(to) = &self.0 else { return };
        let line = format!("{}\n", entry.json());
        let mut to = to.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = to.write_all(line.as_bytes()).and_then(|()| to.flush()) {
            eprintln!("receiver: the journal cannot be written: {error}");
        }
    }
}

impl Entry<'_> {
    fn json(&self) -> serde_json::Value {
        let digest: String = Sha256::digest(self.body).iter().map(|byte| format!("{byte:02x}")).collect();
        json!({"id": self.id, "sha256": digest, "signed": self.signed.is_ok(), "trouble": self.signed.err(),
               "status": self.status, "events": likes::ids(self.body)})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_names_the_call_and_its_bytes() {
        let entry = Entry { id: "a", body: b"abc", signed: Err("no signature"), status: 401 };
        let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let expected = json!({"id": "a", "sha256": digest, "signed": false, "trouble": "no signature",
                              "status": 401, "events": []});
        assert_eq!(entry.json(), expected);
    }
}
