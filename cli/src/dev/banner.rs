//! What `fpaas dev` prints once it is up: where it is, who one is there, and what to try next.

use crate::args::Dev;
use crate::client::Target;
use crate::exit::Failure;
use crate::out;

/// Needs no file, so that it can be pasted in any folder; in quotes of the shell, so without any of its own.
const LIKES: &str = "subscription: {id: likes, filter: {collections: [app.bsky.feed.like]}, output: {topic: like-results}, \
     processor: {webhook: {url: \"http://127.0.0.1:8787/\"}}}";

pub(super) fn print(server: &Target, dev: &Dev, tenant: &str) -> Result<(), Failure> {
    let (url, key, data) = (&server.url, &server.key, dev.data.display());
    let upstreams = dev.upstream.join(", ");
    // As it was called, so that the tips can be pasted.
    let fpaas = std::env::args().next().unwrap_or_else(|| "fpaas".to_owned());
    out::line(format_args!(
        "\
fpaas dev is up

  API       {url}
  tenant    {tenant}
  key       {key}
  data      {data}
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
