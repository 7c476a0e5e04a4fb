//! A file that a node is given at its start (`--apply`): put until it is as the file says.
//!
//! The node is this program, whose defaults are known here: nothing is tried on it, and its room for trials, which its
//! tenants use meanwhile, is not needed. What cannot be now, and what somebody else has changed in between, such as
//! another node that was given a file, is read and tried again for a while.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::info;

use super::documents::Document;
use super::report::{Done, Report};
use super::trial::Trial;
use super::{Client, Documents, put_once};
use crate::exit::Failure;

/// How often it is tried again, and for how long.
#[derive(Clone, Copy, Debug)]
struct Patience {
    between: Duration,
    within: Duration,
}

const PATIENCE: Patience = Patience { between: Duration::from_millis(500), within: Duration::from_secs(60) };

/// Puts them one after the other, and says of each what came of it.
pub(crate) async fn put_all(client: &Client, documents: Documents) -> Result<(), Failure> {
    let mut report = Report::new(None);
    for document in documents.0 {
        report.say(&put(client, &document, PATIENCE).await?)?;
    }
    Ok(())
}

async fn put(client: &Client, document: &Document, patience: Patience) -> Result<Done, Failure> {
    let until = Instant::now() + patience.within;
    loop {
        match put_once(client, document.clone(), Trial::none(client)).await {
            Err(why @ (Failure::NotNow(_) | Failure::Changed(_))) if Instant::now() < until => {
                info!(kind = document.kind.as_str(), id = document.id, %why, "not applied yet: trying again");
                sleep(patience.between).await;
            }
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Read as _, Write as _};
    use std::net::TcpListener;
    use std::thread::JoinHandle;

    use super::*;
    use crate::client::Target;
    use crate::client::apply::documents::parse;
    use crate::client::apply::report::Outcome;

    const SOON: Patience = Patience { between: Duration::from_millis(1), within: Duration::from_secs(30) };
    const FILE: &str = "topic: {name: out, partitions: 2}";
    /// The status of an answer, the lines of its head, and its body.
    type Given = (&'static str, &'static str, &'static str);
    const NONE: Given = ("404 No", "", "{}");
    const MEANWHILE: Given = ("412 No", "", "{}");
    const BUSY: Given = ("503 No", "", "{}");
    const SLOW: Given = ("429 No", "", "{}");
    const REFUSED: Given = ("409 No", "", "{}");
    const PUT: Given = ("200 OK", "", "{}");

    /// Gives these answers, one a connection. What it was asked, in the end: heads in small letters.
    fn server(answers: Vec<Given>) -> (Client, JoinHandle<Vec<String>>) {
        drop(rustls::crypto::ring::default_provider().install_default());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = Target { url: format!("http://{}", listener.local_addr().unwrap()), key: "k".to_owned() };
        let one = move |(status, lines, body): Given| {
            let mut stream = BufReader::new(listener.accept().unwrap().0);
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                assert_ne!(stream.read_line(&mut head).unwrap(), 0, "{head}");
            }
            head.make_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            stream.read_exact(&mut vec![0; length.map_or(0, |length| length.parse().unwrap())]).unwrap();
            let answer = format!("HTTP/1.1 {status}\r\nconnection: close\r\n{lines}content-length: {}", body.len());
            stream.get_mut().write_all(format!("{answer}\r\n\r\n{body}").as_bytes()).unwrap();
            head
        };
        let asked = std::thread::spawn(move || answers.into_iter().map(one).collect());
        (Client::new(target).unwrap(), asked)
    }

    fn document() -> Document {
        parse(FILE).unwrap().remove(0)
    }

    const OTHER_TEXT: &str = r#"{"name":"out","partitions":2,"retentionMs":5,"retentionBytes":null,"compacted":false}"#;
    const OTHER: Given = ("200 OK", "etag: \"1\"\r\n", OTHER_TEXT);
    const AGAIN: Given = ("200 OK", "etag: \"2\"\r\n", OTHER_TEXT);
    const SAME: Given = (
        "200 OK",
        "etag: \"1\"\r\n",
        r#"{"name":"out","partitions":2,"retentionMs":604800000,"retentionBytes":null,"compacted":false}"#,
    );

    #[tokio::test]
    async fn a_start_tries_nothing_on_the_server_and_waits_for_what_cannot_be_now() {
        let (client, asked) = server(vec![BUSY, OTHER, SLOW, OTHER, PUT]);
        let done = put(&client, &document(), SOON).await.unwrap();
        assert_eq!(done.lines(), ["topic out updated", "  /retentionMs: 5 -> 604800000"]);
        let asked = asked.join().unwrap();
        assert!(asked.iter().all(|request| !request.contains("dryrun")), "{asked:?}");
        assert!(asked[4].starts_with("put /v1/topics/out ") && asked[4].contains("if-match: \"1\"\r\n"), "{asked:?}");
    }

    #[tokio::test]
    async fn a_change_in_between_is_read_and_does_not_end_a_start() {
        // It was made by somebody else, otherwise, and changed once more: the file is put over that.
        let (client, asked) = server(vec![NONE, MEANWHILE, OTHER, MEANWHILE, AGAIN, PUT]);
        assert_eq!(put(&client, &document(), SOON).await.unwrap().outcome, Outcome::Updated);
        let asked = asked.join().unwrap();
        assert!(asked[1].contains("if-none-match: *\r\n") && asked[3].contains("if-match: \"1\"\r\n"), "{asked:?}");
        assert!(asked[5].contains("if-match: \"2\"\r\n"), "{asked:?}");
        // They made the same of it.
        let (client, asked) = server(vec![NONE, MEANWHILE, SAME]);
        assert_eq!(put(&client, &document(), SOON).await.unwrap().outcome, Outcome::Unchanged);
        assert_eq!(asked.join().unwrap().len(), 3);
    }

    #[tokio::test]
    async fn what_is_refused_is_not_tried_again_nor_for_ever_what_cannot_be_now() {
        let (client, asked) = server(vec![OTHER, REFUSED]);
        assert_eq!(put(&client, &document(), SOON).await.unwrap_err().code(), 79);
        assert_eq!(asked.join().unwrap().len(), 2);
        let (client, asked) = server(vec![BUSY]);
        let never = Patience { within: Duration::ZERO, ..SOON };
        assert_eq!(put(&client, &document(), never).await.unwrap_err().code(), 75);
        assert_eq!(asked.join().unwrap().len(), 1);
    }
}
