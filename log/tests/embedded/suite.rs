//! The suite on the embedded log, with offsets that follow each other and with gaps among them.

mod dense {
    fpaas_log::log_conformance!(crate::support::Local::new(None));
}

mod gappy {
    fpaas_log::log_conformance!(crate::support::Local::new(Some(3)));
}

/// What the test below starts: a test that is skipped, and passes.
#[test]
#[ignore = "only as a child of the test below"]
fn child() {
    fpaas_log::conformance::kit::skip("there is nothing to test here");
}

#[test]
fn a_skip_is_heard_though_the_test_passes() {
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "suite::child", "--ignored"])
        .output()
        .unwrap();
    assert!(child.status.success());
    let heard = String::from_utf8(child.stderr).unwrap();
    assert!(heard.contains("SKIPPED suite::child: there is nothing to test here"), "{heard}");
}
