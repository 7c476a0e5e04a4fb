//! What `fpaas dev` prints once it is up: where it is, who one is there, and what to try next.

use crate::args::Dev;
use crate::client::Target;

#[expect(clippy::print_stdout, reason = "this is what the person asked for")]
pub(super) fn print(server: &Target, dev: &Dev, tenant: &str) {
    let (url, key, data) = (&server.url, &server.key, dev.data.display());
    let upstreams = dev.upstream.join(", ");
    println!(
        "\
fpaas dev is up

  API       {url}
  tenant    {tenant}
  key       {key}
  data      {data}
  upstream  {upstreams}

Try next, in another terminal:

  fpaas tap firehose --from latest --follow
  fpaas apply -f examples/likes.yaml
  fpaas status
"
    );
}
