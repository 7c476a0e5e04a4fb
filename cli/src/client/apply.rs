//! `fpaas apply`: YAML documents, each one resource, compared with what is there and put where they differ.
//!
//! What is put names the revision that it was compared with: a change of somebody else's in between is not undone. Owns
//! the order of these steps. Does not own what a document would be: the server says that (`trial`).

mod documents;
mod report;
mod start;
mod trial;

use std::path::Path;

use reqwest::Method;

use super::{Answer, Client};
use crate::args::{Apply, Server};
use crate::exit::Failure;
pub(super) use documents::value;
use documents::{Document, Kind};
use report::{Done, Outcome, Report};
pub(crate) use start::put_all;
use trial::Trial;

/// What a file holds, checked as far as it can be without a server.
#[derive(Debug)]
pub(crate) struct Documents(Vec<Document>);

pub(crate) async fn run(server: &Server, apply: &Apply) -> Result<(), Failure> {
    let documents = read(&apply.file)?;
    let client = Client::find(server)?;
    let mut report = Report::new(apply.output);
    let outcome = if apply.dry_run {
        compare_all(&client, documents, &mut report, apply.diff_exit_code).await
    } else {
        put_each(&client, documents, &mut report).await
    };
    // What was done is said, however it has ended.
    report.finish()?;
    outcome
}

/// Reads all documents before the first is applied: a typo in the last one changes nothing.
pub(crate) fn read(file: &Path) -> Result<Documents, Failure> {
    let name = file.display();
    let documents = documents::parse(&text(file)?).map(Documents);
    documents.map_err(|why| Failure::Usage(format!("{name}: {why}")))
}

/// A file's, or that of standard input.
pub(crate) fn text(file: &Path) -> Result<String, Failure> {
    let text =
        if file.as_os_str() == "-" { std::io::read_to_string(std::io::stdin()) } else { std::fs::read_to_string(file) };
    text.map_err(|error| Failure::Usage(format!("{} cannot be read: {error}", file.display())))
}

/// Puts them one after the other, and says of each what came of it.
async fn put_each(client: &Client, documents: Documents, report: &mut Report) -> Result<(), Failure> {
    for document in documents.0 {
        report.say(&put(client, document).await?)?;
    }
    Ok(())
}

async fn put(client: &Client, document: Document) -> Result<Done, Failure> {
    match put_once(client, document.clone(), Trial::real(client)).await {
        // Somebody else may have brought about the same: another node that was given the same file, say.
        Err(Failure::Changed(_)) => look_again(client, document).await,
        done => done,
    }
}

async fn put_once(client: &Client, mut document: Document, mut trial: Trial<'_>) -> Result<Done, Failure> {
    let path = document.path();
    let Some(before) = client.find_one(&path).await? else {
        let put = client.request(Method::PUT, &path).header("if-none-match", Some("*")).body(Some(&document.body));
        put.answer().await?;
        return Ok(Done::new(&document, false, Outcome::Created));
    };
    let done = trial.compared(&mut document, Some(&before)).await?;
    if done.outcome != Outcome::Unchanged {
        // Without one, it would be put over whatever is there by now.
        let tag = before.tag.as_ref().ok_or_else(|| {
            let (kind, id) = (document.kind.as_str(), &document.id);
            Failure::Failed(format!("{kind} {id}: the server's answer has no ETag, and nothing is put"))
        })?;
        let put = client.request(Method::PUT, &path).header("if-match", Some(tag));
        put.body(Some(&document.body)).answer().await?;
    }
    Ok(done)
}

async fn look_again(client: &Client, mut document: Document) -> Result<Done, Failure> {
    let (kind, id) = (document.kind.as_str(), document.id.clone());
    if let Some(there) = client.find_one(&document.path()).await? {
        let done = Trial::real(client).compared(&mut document, Some(&there)).await?;
        if done.outcome == Outcome::Unchanged {
            return Ok(done);
        }
    }
    Err(Failure::Changed(format!(
        "{kind} {id}: somebody else has changed it meanwhile, and nothing of that is undone: apply again to see what \
         differs now"
    )))
}

/// Says of each what would come of it, also behind one that would be refused.
async fn compare_all(
    client: &Client,
    documents: Documents,
    report: &mut Report,
    tell_by_code: bool,
) -> Result<(), Failure> {
    let (mut trial, all) = (Trial::dry(client), documents.0.len());
    let (mut differ, mut refused) = (0, Vec::new());
    for document in documents.0 {
        let done = match trial.tried(document.clone()).await {
            Ok(done) => done,
            Err(why @ (Failure::Usage(_) | Failure::Conflict(_) | Failure::NotFound(_))) => {
                let done = Done::refused(&document, &why);
                refused.push(why);
                done
            }
            Err(other) => return Err(other),
        };
        differ += usize::from(done.outcome != Outcome::Unchanged);
        report.say(&done)?;
    }
    match refused.first() {
        Some(first) => Err(first.saying(format!("of {all} documents, {} would be refused", refused.len()))),
        None if tell_by_code && differ > 0 => {
            Err(Failure::Differs(format!("of {all} documents, {differ} would change something")))
        }
        None => Ok(()),
    }
}
