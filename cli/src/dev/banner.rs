//! What `fpaas dev` prints once it is up: where it is, who one is there, and what to try next.

use crate::args::Dev;
use crate::client::Target;
use crate::exit::Failure;
use crate::out;

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
  {fpaas} apply -f examples/likes.yaml
  {fpaas} status
",
        key.replace('\'', "'\\''")
    ))
    .map(drop)
}
