//! `fpaas delete` and `delete-topic`: what goes with it is said before it goes, and somebody has to agree. What they
//! have agreed to is of what was there then: nothing that was changed, or made again, since then is deleted.

use std::io::{IsTerminal as _, Write as _};

use reqwest::Method;
use serde_json::Value;

use super::Client;
use super::show::segment;
use crate::args::{Delete, DeleteTopic, IfMatch, Server};
use crate::exit::Failure;
use crate::out;

/// As many dead letters are counted as a page has.
const COUNTED: usize = fpaas_core::limits::PAGE_ITEMS_MAX;

/// What would be lost with a subscription.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Goes {
    /// Offsets of events that are delivered and not acknowledged: there may be fewer events.
    undelivered: u64,
    dead_letters: usize,
    /// There are more of them.
    and_more: bool,
    /// A part of its source is being delivered again.
    replays: bool,
    /// Dead letters are being delivered again.
    redrives: bool,
}

pub(crate) async fn run(server: &Server, asked: &Delete) -> Result<(), Failure> {
    let client = Client::find(server)?;
    let path = format!("/v1/subscriptions/{}", segment(&asked.id)?);
    let mut condition = asked.condition.clone();
    if !asked.yes {
        // It is read first: what is counted is of this one, or of one that came later and is not deleted.
        condition = seen(&client, &path, condition).await?;
        if let Some(what) = look(&client, &path).await?.sentence() {
            agree(&asked.id, &what)?;
        }
    }
    client.request(Method::DELETE, &path).expecting(&condition).answer().await?;
    out::line(format_args!("subscription {} deleted", asked.id)).map(drop)
}

/// `fpaas delete-topic`.
pub(crate) async fn topic(server: &Server, asked: &DeleteTopic) -> Result<(), Failure> {
    let client = Client::find(server)?;
    let path = format!("/v1/topics/{}", segment(&asked.name)?);
    let mut condition = asked.condition.clone();
    if !asked.yes {
        condition = seen(&client, &path, condition).await?;
        let page = client.call(Method::GET, &format!("{path}/records?limit=1"), None).await?;
        if page.get("items").and_then(Value::as_array).is_some_and(|items| !items.is_empty()) {
            agree(&asked.name, "all of its records")?;
        }
    }
    client.request(Method::DELETE, &path).expecting(&condition).answer().await?;
    out::line(format_args!("topic {} deleted", asked.name)).map(drop)
}

/// What was asked for, else the revision that is there. What has none can be deleted by nobody, and the server says so.
async fn seen(client: &Client, path: &str, asked: IfMatch) -> Result<IfMatch, Failure> {
    let there = client.request(Method::GET, path).answer().await?;
    Ok(IfMatch { if_match: asked.if_match.or(there.tag) })
}

async fn look(client: &Client, path: &str) -> Result<Goes, Failure> {
    let status = client.call(Method::GET, &format!("{path}/status"), None).await?;
    let dead = client.call(Method::GET, &format!("{path}/deadLetters?limit={COUNTED}"), None).await?;
    let replay = client.find_one(&format!("{path}/replay")).await?;
    let redrive = status.pointer("/lag/redrive").and_then(Value::as_u64);
    Ok(Goes {
        undelivered: status.pointer("/lag/deliveries").and_then(Value::as_u64).unwrap_or(0),
        dead_letters: dead.get("items").and_then(Value::as_array).map_or(0, Vec::len),
        and_more: dead.get("cursor").is_some_and(Value::is_string),
        replays: replay.is_some_and(|replay| replay.value.get("state").is_none_or(|state| state != "done")),
        redrives: redrive.is_some_and(|left| left > 0),
    })
}

/// Asks whoever sits there; where nobody does, it takes a flag.
fn agree(id: &str, what: &str) -> Result<(), Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::Usage(format!("with {id} go {what}: nothing is deleted; give --yes to delete it all")));
    }
    eprint!("with {id} go {what}. Delete it? [y/N] ");
    std::io::stderr().flush()?;
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    if matches!(line.trim(), "y" | "Y" | "yes") {
        Ok(())
    } else {
        Err(Failure::Failed("nothing is deleted".to_owned()))
    }
}

impl Goes {
    /// None where nothing would be lost.
    fn sentence(self) -> Option<String> {
        let plural = |count: u64| if count == 1 { "" } else { "s" };
        let undelivered = (self.undelivered > 0).then(|| {
            format!("up to {} event{} that its endpoint has not taken", self.undelivered, plural(self.undelivered))
        });
        let more = if self.and_more { "more than " } else { "" };
        let count = self.dead_letters;
        let dead = (count > 0).then(|| format!("{more}{count} dead letter{}", plural(count as u64)));
        let replay = self.replays.then(|| "what is left of its replay".to_owned());
        let redrive = self.redrives.then(|| "what is left of its redrive".to_owned());
        let all: Vec<_> = [undelivered, dead, replay, redrive].into_iter().flatten().collect();
        let (last, others) = all.split_last()?;
        Some(if others.is_empty() { last.clone() } else { format!("{} and {last}", others.join(", ")) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_is_said_in_one_sentence_and_nothing_where_nothing_goes() {
        let goes = |undelivered, dead_letters, and_more, replays| Goes {
            undelivered,
            dead_letters,
            and_more,
            replays,
            redrives: replays && dead_letters > 2,
        };
        for (goes, said) in [
            (goes(0, 0, false, false), None),
            (goes(1, 0, false, false), Some("up to 1 event that its endpoint has not taken")),
            (goes(0, 1000, true, false), Some("more than 1000 dead letters")),
            (goes(7, 1, false, false), Some("up to 7 events that its endpoint has not taken and 1 dead letter")),
            (
                goes(7, 2, false, true),
                Some("up to 7 events that its endpoint has not taken, 2 dead letters and what is left of its replay"),
            ),
            (
                Goes { redrives: true, ..goes(0, 3, false, true) },
                Some("3 dead letters, what is left of its replay and what is left of its redrive"),
            ),
        ] {
            assert_eq!(goes.sentence().as_deref(), said);
        }
    }
}
