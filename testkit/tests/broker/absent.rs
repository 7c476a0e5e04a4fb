//! Where there is no Kafka, tests say so and pass; where there must be, they fail.

use std::process::{Command, Output};

use fpaas_testkit::Broker;

#[tokio::test]
#[ignore = "run by the others, where there is neither Docker nor Java"]
async fn finds_no_broker() {
    assert!(Broker::shared().await.is_none(), "there should be none");
}

fn run(must: &str) -> Output {
    let mut test = Command::new(std::env::current_exe().unwrap());
    test.args(["--exact", "absent::finds_no_broker", "--ignored"]).env("FPAAS_MUST_RUN", must);
    test.env("DOCKER_HOST", "unix:///nowhere").env("PATH", "/nowhere").env_remove("JAVA_HOME");
    test.output().unwrap()
}

#[test]
fn without_kafka_a_test_passes_and_says_so_past_the_runner() {
    let output = run("program");
    assert!(output.status.success(), "{output:?}");
    let why = "no Docker daemon answers, and there is no Java 17 or newer";
    let said = format!("SKIPPED, for want of kafka: absent::finds_no_broker: {why}\n");
    assert_eq!(String::from_utf8_lossy(&output.stderr), said);
}

#[test]
fn where_kafka_must_run_a_test_without_it_fails() {
    assert!(!run("program,kafka").status.success());
    let output = run("docker");
    assert!(!output.status.success());
    let said = [output.stdout, output.stderr].concat();
    assert!(String::from_utf8_lossy(&said).contains("for want of docker"));
}
