//! What must arrive, computed from what the PDS answered when the records were written.
//!
//! Reads `truth.jsonl` (one JSON object per call: method, body, status, answer) and never a frame: a decoder that drops
//! or doubles something cannot hide it here. `scripts/expected_likes.py` computes the likes a second time.

mod compare;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context as _, Result};
use fpaas_core::event::{self, Operation};
use serde::Deserialize;
use serde_json::Value;

pub use compare::Comparison;

const LIKE: &str = "app.bsky.feed.like";
/// Of these a repo has one per subject: creating a second one deletes the first, in the same commit.
const ONE_PER_SUBJECT: [&str; 4] = [LIKE, "app.bsky.feed.repost", "app.bsky.graph.follow", "app.bsky.graph.block"];

/// One operation that the PDS accepted, and so one event of the firehose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// The repo.
    pub did: String,
    /// The NSID.
    pub collection: String,
    /// The record's key.
    pub rkey: String,
    /// The revision of the commit it is in.
    pub rev: String,
    /// What was done.
    pub operation: Operation,
}

impl Write {
    /// The id of its event.
    pub fn id(&self) -> String {
        event::commit_id(&self.did, &self.collection, &self.rkey, &self.rev)
    }
}

/// Everything the PDS accepted.
#[derive(Clone, Debug, Default)]
pub struct Oracle {
    writes: Vec<Write>,
    /// Accounts deleted later: a PDS removes their events from its history.
    deleted: BTreeSet<String>,
    /// What is there now: URI to the subject of what there is one of per subject.
    live: BTreeMap<String, Option<String>>,
}

/// A repo as the PDS listed it at the end: path (`collection/rkey`) to CID and record.
pub type Repo = BTreeMap<String, (String, Value)>;

#[derive(Debug, Deserialize)]
struct Call {
    nsid: String,
    #[serde(default)]
    body: Value,
    status: u16,
    #[serde(default)]
    answer: Value,
}

impl Oracle {
    /// Of the bundled recording.
    pub fn bundled() -> Result<Self> {
        Self::read(&crate::bundled().join("truth.jsonl.zst"))
    }

    /// Of a `truth.jsonl.zst`.
    pub fn read(file: &Path) -> Result<Self> {
        let text = decompress(file)?;
        let mut oracle = Self::default();
        for (at, line) in text.split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.is_empty()) {
            let taken = serde_json::from_slice(line).map_err(Into::into).and_then(|call| oracle.take(&call));
            taken.with_context(|| format!("{} line {}", file.display(), at + 1))?;
        }
        Ok(oracle)
    }

    /// Every operation whose event is in the recording, in the order the PDS answered.
    pub fn expected(&self) -> impl Iterator<Item = &Write> {
        self.writes.iter().filter(|write| !self.deleted.contains(&write.did))
    }

    /// Event id to operation, of all collections.
    pub fn operations(&self) -> BTreeMap<String, Operation> {
        self.expected().map(|write| (write.id(), write.operation)).collect()
    }

    /// The ids of the likes: what the demo's subscription must deliver.
    pub fn likes(&self) -> BTreeSet<String> {
        let like = |write: &&Write| write.collection == LIKE && write.operation == Operation::Create;
        self.expected().filter(like).map(Write::id).collect()
    }

    fn take(&mut self, call: &Call) -> Result<()> {
        if call.status != 200 {
            return Ok(());
        }
        match call.nsid.as_str() {
            "com.atproto.repo.createRecord" => self.create(call),
            "com.atproto.repo.putRecord" => self.put(call),
            "com.atproto.repo.deleteRecord" => self.delete(call),
            "com.atproto.repo.applyWrites" => self.writes(call),
            "com.atproto.admin.deleteAccount" => {
                self.deleted.insert(text(&call.body, "did")?);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn create(&mut self, call: &Call) -> Result<()> {
        let (uri, rev, subject) = (text(&call.answer, "uri")?, rev(call)?, subject(call));
        self.push(&uri, &rev, Operation::Create)?;
        if subject.is_none() {
            return Ok(());
        }
        let collection = uri.rsplit_once('/').map_or("", |(collection, _)| collection);
        let earlier = |(other, of): &(&String, &Option<String>)| other.starts_with(collection) && **of == subject;
        let earlier: Vec<_> = self.live.iter().filter(earlier).map(|(other, _)| other.clone()).collect();
        for other in earlier {
            self.push(&other, &rev, Operation::Delete)?;
        }
        self.live.insert(uri, subject);
        Ok(())
    }

    /// A put of a record that is there is an update.
    fn put(&mut self, call: &Call) -> Result<()> {
        let uri = text(&call.answer, "uri")?;
        let operation = if self.live.contains_key(&uri) { Operation::Update } else { Operation::Create };
        self.push(&uri, &rev(call)?, operation)
    }

    /// Deleting what is not there is answered without a commit, and is no event.
    fn delete(&mut self, call: &Call) -> Result<()> {
        if call.answer.get("commit").is_none_or(Value::is_null) {
            return Ok(());
        }
        let (repo, body) = (text(&call.body, "repo")?, &call.body);
        let uri = format!("at://{repo}/{}/{}", text(body, "collection")?, text(body, "rkey")?);
        self.push(&uri, &rev(call)?, Operation::Delete)
    }

    fn writes(&mut self, call: &Call) -> Result<()> {
        let (repo, rev) = (text(&call.body, "repo")?, rev(call)?);
        let list = |value: &Value, name: &str| value.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
        for (write, result) in list(&call.body, "writes").iter().zip(list(&call.answer, "results")) {
            let operation = match text(write, "$type")?.rsplit_once('#').map(|(_, name)| name) {
                Some("create") => Operation::Create,
                Some("update") => Operation::Update,
                Some("delete") => Operation::Delete,
                other => anyhow::bail!("an unknown write: {other:?}"),
            };
            let uri = match operation {
                Operation::Delete => format!("at://{repo}/{}/{}", text(write, "collection")?, text(write, "rkey")?),
                _ => text(&result, "uri")?,
            };
            self.push(&uri, &rev, operation)?;
        }
        Ok(())
    }

    fn push(&mut self, uri: &str, rev: &str, operation: Operation) -> Result<()> {
        let path = uri.strip_prefix("at://").with_context(|| format!("{uri} is no at:// URI"))?;
        let mut parts = path.splitn(3, '/').map(str::to_owned);
        let (Some(did), Some(collection), Some(rkey)) = (parts.next(), parts.next(), parts.next()) else {
            anyhow::bail!("{uri} names no record");
        };
        if operation == Operation::Delete {
            self.live.remove(uri);
        } else {
            self.live.insert(uri.to_owned(), None);
        }
        self.writes.push(Write { did, collection, rkey, rev: rev.to_owned(), operation });
        Ok(())
    }
}

/// What a record of [`ONE_PER_SUBJECT`] is about: a URI, or a DID.
fn subject(call: &Call) -> Option<String> {
    let collection = call.body.get("collection")?.as_str()?;
    let subject = call.body.pointer("/record/subject")?;
    let about = subject.get("uri").unwrap_or(subject).as_str()?;
    ONE_PER_SUBJECT.contains(&collection).then(|| about.to_owned())
}

/// DID to repo, of those that the PDS served at the end (`final.json`).
pub fn final_repos() -> Result<BTreeMap<String, Repo>> {
    let listed = decompress(&crate::bundled().join("final.json.zst"))?;
    let repos: Vec<Value> = serde_json::from_slice(&listed)?;
    let served = repos.iter().filter(|repo| repo.get("getRepo").and_then(Value::as_u64) == Some(200));
    served.map(|repo| Ok((text(repo, "did")?, records(repo)?))).collect()
}

fn records(repo: &Value) -> Result<Repo> {
    let listed = repo.get("records").and_then(Value::as_array).context("a repo without records")?;
    listed
        .iter()
        .map(|record| {
            let uri = text(record, "uri")?;
            let path = uri.splitn(4, '/').nth(3).with_context(|| format!("{uri} names no record"))?.to_owned();
            let value = record.get("value").cloned().unwrap_or_default();
            Ok((path, (text(record, "cid")?, value)))
        })
        .collect()
}

fn decompress(file: &Path) -> Result<Vec<u8>> {
    let open = std::fs::File::open(file).with_context(|| file.display().to_string())?;
    Ok(zstd::decode_all(open)?)
}

fn rev(call: &Call) -> Result<String> {
    text(call.answer.get("commit").context("an answer without a commit")?, "rev")
}

fn text(value: &Value, name: &str) -> Result<String> {
    let found = value.get(name).and_then(Value::as_str);
    found.map(str::to_owned).with_context(|| format!("{name} is missing"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn oracle(lines: &[Value]) -> Oracle {
        let mut oracle = Oracle::default();
        for line in lines {
            oracle.take(&serde_json::from_value(line.clone()).unwrap()).unwrap();
        }
        oracle
    }

    fn put(rkey: &str, rev: &str) -> Value {
        serde_json::json!({"nsid": "com.atproto.repo.putRecord", "status": 200, "body": {},
            "answer": {"uri": format!("at://did:x:a/n.s.i/{rkey}"), "commit": {"rev": rev}}})
    }

    #[test]
    fn the_bundled_recording_has_719_likes() {
        assert_eq!(Oracle::bundled().unwrap().likes().len(), 719);
    }

    #[test]
    fn a_put_of_what_is_there_is_an_update() {
        let oracle = oracle(&[put("k", "1"), put("k", "2")]);
        let expected = BTreeMap::from([
            ("did:x:a/n.s.i/k@1".to_owned(), Operation::Create),
            ("did:x:a/n.s.i/k@2".to_owned(), Operation::Update),
        ]);
        assert_eq!(oracle.operations(), expected);
    }

    #[test]
    fn what_failed_and_what_changed_nothing_is_no_event() {
        let refused = serde_json::json!({"nsid": "com.atproto.repo.createRecord", "status": 400});
        let nothing = serde_json::json!({"nsid": "com.atproto.repo.deleteRecord", "status": 200, "answer": {}});
        assert_eq!(oracle(&[refused, nothing]).expected().count(), 0);
    }

    #[test]
    fn a_deleted_account_is_not_expected() {
        let deleted =
            serde_json::json!({"nsid": "com.atproto.admin.deleteAccount", "status": 200, "body": {"did": "did:x:a"}});
        assert_eq!(oracle(&[put("k", "1"), deleted]).expected().count(), 0);
    }

    #[test]
    fn folding_all_writes_gives_what_the_pds_listed_at_the_end() {
        let (oracle, repos) = (Oracle::bundled().unwrap(), final_repos().unwrap());
        assert_eq!(repos.len(), 17);
        for (did, repo) in &repos {
            let prefix = format!("at://{did}/");
            let live: BTreeSet<_> = oracle.live.keys().filter_map(|uri| uri.strip_prefix(&prefix)).collect();
            assert_eq!(live, repo.keys().map(String::as_str).collect(), "{did}");
        }
    }
}
