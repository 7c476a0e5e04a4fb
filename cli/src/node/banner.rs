//! What a node says once it is up: for `dev`, where it is, who one is there, and what to try next.

use tracing::info;

use super::plan::Plan;
use crate::client::Target;
use crate::exit::Failure;
use crate::out;

/// Needs no file, so that it can be pasted in any folder; in quotes of the shell, so without any of its own.
const LIKES: &str = "subscription: {id: likes, filter: {collections: [app.bsky.feed.like]}, output: {topic: like-results}, \
     processor: {webhook: {url: \"http://127.0.0.1:8787/\"}}}";

pub(super) fn print(server: &Target, plan: &Plan, node: &str, tenant: &str) -> Result<(), Failure> {
    if plan.dev {
        return dev(server, plan, tenant);
    }
    let parts = &plan.parts;
    info!(node, url = server.url, ?parts, log = %plan.log, data = %plan.data.display(), "fpaas serve is up");
    Ok(())
}

fn dev(server: &Target, plan: &Plan, tenant: &str) -> Result<(), Failure> {
    let (url, key, data, log) = (&server.url, &server.key, plan.data.display(), &plan.log);
    let upstreams = plan.upstream_texts.join(", ");
    // As it was called, so that the tips can be pasted.
    let fpaas = std::env::args().next().unwrap_or_else(|| "fpaas".to_owned());
    out::line(format_args!(
        "\
fpaas dev is up

  API       {url}
  tenant    {tenant}
  key       {key}
  data      {data}
  log       {log}
  upstream  {upstreams}

For curl:

  export FPAAS_SERVER={url} FPAAS_API_KEY='{}'

Try next, in another terminal:

  {fpaas} tap firehose --from latest --follow
  echo '{LIKES}' | {fpaas} apply -f -
  {fpaas} status
",
        key.replace('\'', "'\\''")
    ))
    .map(drop)
}
