//! Which endpoints a node calls, and how: what its settings mean to the dispatcher.

use std::path::Path;

use fpaas_dispatcher::{Network, Pattern, Proxy, Reach, Trust};
use ipnet::IpNet;

use crate::config::Reading;
use crate::config::setting::{ALLOW_WEBHOOK_CIDR, ALLOW_WEBHOOK_HOST, ONLY_WEBHOOK_HOST, WEBHOOK_CA, WEBHOOK_PROXY};

/// Where they may be, and how they are reached. In dev loopback and private networks need not be listed.
#[derive(Clone, Debug)]
pub(crate) struct Endpoints {
    pub(crate) reach: Reach,
    pub(crate) network: Network,
}

impl Endpoints {
    /// What is wrong is noted.
    pub(crate) fn read(reading: &mut Reading<'_>, dev: bool) -> Self {
        let networks: Vec<IpNet> = reading.each(&ALLOW_WEBHOOK_CIDR, network);
        let network = Network {
            private: reading.each(&ALLOW_WEBHOOK_HOST, Pattern::parse).into_iter().collect(),
            only: reading.each(&ONLY_WEBHOOK_HOST, Pattern::parse).into_iter().collect(),
            trust: reading.one(&WEBHOOK_CA, |file| Trust::with(Path::new(file))).unwrap_or_default(),
            proxy: reading.one(&WEBHOOK_PROXY, Proxy::parse),
        };
        Self { reach: if dev { Reach::Dev } else { Reach::Listed(networks.into()) }, network }
    }

    /// What a dispatcher is started with.
    pub(crate) fn config(&self, version: &str) -> fpaas_dispatcher::Config {
        fpaas_dispatcher::Config {
            reach: self.reach.clone(),
            network: self.network.clone(),
            version: version.to_owned(),
            assigned: std::sync::Arc::default(),
            outside: None,
        }
    }
}

fn network(text: &str) -> Result<IpNet, &'static str> {
    text.parse().map_err(|_| "must be a network, such as 10.20.0.0/16")
}

#[cfg(test)]
mod tests {
    use crate::node::plan::Plan;

    fn wrong(arguments: &[&str]) -> String {
        let arguments = ["fpaas", "serve"].iter().chain(arguments);
        let plan = Plan::new(&<crate::args::Args as clap::Parser>::parse_from(arguments).settings());
        plan.err().map(|wrongs| wrongs.to_string()).unwrap_or_default()
    }

    #[test]
    fn what_is_said_of_endpoints_is_checked_before_a_start_and_a_proxys_password_is_not_repeated() {
        let ca = concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata/tls/ca.pem");
        let right = ["--allow-webhook-host", "a.internal,*.svc.internal", "--only-webhook-host", "*.internal"];
        assert_eq!(
            wrong(&[&right[..], &["--webhook-ca", ca, "--webhook-proxy", "http://a:b@proxy:3128"]].concat()),
            ""
        );
        let name = "must be the name of a host, such as hooks.example.com or *.example.com";
        for (flag, value, said) in [
            ("--allow-webhook-cidr", "10/8", "--allow-webhook-cidr 10/8: must be a network, such as 10.20.0.0/16"),
            ("--allow-webhook-host", "10.0.0.1", &format!("--allow-webhook-host 10.0.0.1: {name}")),
            ("--only-webhook-host", "*", &format!("--only-webhook-host *: {name}")),
            ("--webhook-ca", "/nowhere", "--webhook-ca /nowhere: No such file or directory (os error 2)"),
            (
                "--webhook-proxy",
                "https://anna:secret@proxy:3128",
                "--webhook-proxy: must be http://host:port or http://user:password@host:port",
            ),
        ] {
            assert_eq!(wrong(&[flag, value]), said);
        }
    }
}
