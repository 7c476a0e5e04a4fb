//! `docs/api.md` is true: each of its shell blocks runs, in order, against a server, and each route is in it.

use std::process::Stdio;

use tokio::net::TcpListener;
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use crate::world::{KEY, World, record};

const PAGE: &str = include_str!("../../../docs/api.md");

fn blocks() -> impl Iterator<Item = &'static str> {
    PAGE.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap())
}

#[tokio::test]
async fn every_command_of_the_page_runs() {
    let world = World::new().await;
    world.append(&world.context.topics.firehose(), 3, (0..9).map(|n| record("did:x:y", "{}", n))).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = format!("http://{}", listener.local_addr().unwrap());
    let shutdown = CancellationToken::new();
    let serving = tokio::spawn(fpaas_api::serve(listener, world.routes.clone(), shutdown.clone()));
    for block in blocks() {
        let mut bash = Command::new("bash");
        bash.args(["-euo", "pipefail", "-c", block]).env("FPAAS_SERVER", &server).env("FPAAS_API_KEY", KEY);
        let ran = bash.stdin(Stdio::null()).output().await.unwrap();
        let (out, err) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
        assert!(ran.status.success() && !out.contains("\"type\":\"urn:fpaas:problem"), "{block}\n{out}\n{err}");
    }
    shutdown.cancel();
    serving.await.unwrap().unwrap();
}

#[test]
fn every_route_is_on_the_page_with_a_command() {
    for fpaas_api::Route { method, path, .. } in fpaas_api::ROUTES {
        assert!(PAGE.contains(&format!("{path}`")), "{path} is not described");
        let asked = |block: &str| {
            if *method == "GET" { !block.contains("-X ") } else { block.contains(&format!("-X {method}")) }
        };
        // What stands for names in it may be anything.
        let parts: Vec<_> = path.split(['{', '}']).step_by(2).collect();
        let called = blocks().any(|block| asked(block) && parts.iter().all(|part| block.contains(part)));
        assert!(called, "no command calls {method} {path}");
    }
    assert_eq!(fpaas_api::ROUTES.len(), 45);
}
