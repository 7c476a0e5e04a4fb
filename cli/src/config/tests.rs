//! The embedded file, the flags and the docs say the same, and what counts more counts.

use clap::{Command, CommandFactory as _, Parser as _};
use fpaas_testkit::checkout;
use serde_norway::Value;

use super::*;
use crate::args::Args;

/// The command as people find it, with what every command has.
fn command(name: &str) -> Command {
    let mut all = Args::command();
    all.build();
    all.find_subcommand(name).unwrap().clone()
}

fn settings(arguments: &[&str]) -> Settings {
    Args::parse_from(["fpaas"].iter().chain(arguments)).settings()
}

#[test]
fn the_default_file_has_every_setting_at_the_default_of_its_flag_and_says_what_it_is() {
    let Value::Mapping(entries) = serde_norway::from_str(default::TEXT).unwrap() else { panic!("no mapping") };
    let keys: Vec<_> = entries.keys().filter_map(Value::as_str).collect();
    assert_eq!(keys, ALL.map(|setting| setting.key));
    assert!(file::parse(default::TEXT).faults.is_empty());
    let lines: Vec<_> = default::TEXT.lines().collect();
    for setting in ALL {
        let at = lines.iter().position(|line| line.starts_with(&format!("{}:", setting.key))).unwrap();
        assert!(lines[at - 1].starts_with("# "), "{} is not explained", setting.key);
        let serve = command("serve");
        let flag = serve.get_arguments().find(|flag| flag.get_long() == Some(setting.flag)).unwrap();
        let by_flag: Vec<_> = flag.get_default_values().iter().map(|text| text.to_str().unwrap()).collect();
        match setting.kind {
            Kind::Switch => assert_eq!(default::texts(setting), ["false"], "{}", setting.key),
            _ => assert_eq!(default::texts(setting), by_flag, "{}", setting.key),
        }
        assert_eq!(flag.get_env().and_then(|name| name.to_str()), Some(setting.variable));
    }
}

#[test]
fn help_shows_the_defaults() {
    for name in ["dev", "serve"] {
        // Where lines are broken depends on the terminal.
        let help = command(name).render_long_help().to_string();
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
        for setting in ALL.into_iter().filter(|setting| name == "serve" || !setting.serve_only) {
            let said = default::texts(setting).join(" ");
            let shown = setting.kind == Kind::Switch || said.is_empty() || help.contains(&format!("[default: {said}]"));
            assert!(shown, "{name} --{}: {said}", setting.flag);
            assert!(
                help.contains(&format!("--{}", setting.flag)) && help.contains(setting.variable),
                "{}",
                setting.key
            );
        }
    }
}

#[test]
fn a_node_with_the_default_file_is_a_node_without_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("fpaas.yaml");
    fs::write(&file, default::TEXT).unwrap();
    for name in ["dev", "serve"] {
        let (with, without) = (settings(&[name, "--config", file.to_str().unwrap()]), settings(&[name]));
        assert_eq!(with.changed(&without).map(|setting| setting.key).collect::<Vec<_>>(), Vec::<&str>::new());
        assert!(crate::node::check(&with).is_ok(), "{:?}", crate::node::check(&with));
    }
}

#[test]
fn a_setting_has_one_name_in_three_spellings_and_the_docs_list_it() {
    let page = std::fs::read_to_string(checkout().join("docs/configuration.md")).unwrap();
    for Setting { key, flag, variable, .. } in ALL {
        let hyphens: String =
            key.chars().flat_map(|c| c.is_uppercase().then_some('-').into_iter().chain([c])).collect();
        assert_eq!(*flag, hyphens.to_lowercase());
        assert_eq!(*variable, format!("FPAAS_{}", hyphens.to_uppercase().replace('-', "_")));
        let row = format!("| `{key}` | `--{flag}` | `{variable}` |");
        assert_eq!(page.lines().filter(|line| line.starts_with(&row)).count(), 1, "no row of its own: {row}");
    }
    let listed = page.lines().filter(|line| line.starts_with("| `") && line.contains("| `--")).count();
    assert_eq!(listed, ALL.len(), "the docs list what is no setting");
}

#[test]
fn a_flag_counts_more_than_a_variable_a_variable_more_than_the_file_the_file_more_than_the_default() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("fpaas.yaml");
    fs::write(&file, "log: in-file\ntopicPrefix: in-file\nnodeId: in-file\nfsync: null\nupstream: [a, b]\n").unwrap();
    let given = |source, texts: &[&str]| (source, texts.iter().map(ToString::to_string).collect::<Vec<_>>());
    let mut all = Given { file: Some(file), ..Given::default() };
    for (key, source) in [("log", Source::Environment), ("topicPrefix", Source::Flag), ("upstream", Source::Flag)] {
        all.texts.insert(key, given(source, &["given"]));
    }
    let settings = Settings::resolve(Role::Serve, &all);
    let found = |key: &str| settings.found.get(key).cloned().unwrap();
    assert_eq!(found("log"), given(Source::Environment, &["given"]));
    assert_eq!(found("topicPrefix"), given(Source::Flag, &["given"]));
    assert_eq!(found("nodeId"), given(Source::File, &["in-file"]));
    assert_eq!(found("fsync"), given(Source::Default, &["50ms"]));
    assert_eq!(found("upstream"), given(Source::Flag, &["given"]));
    assert_eq!(found("kafkaProperty"), given(Source::Default, &[]));
    assert!(settings.wrong.is_empty());
}

#[test]
fn what_serve_alone_has_is_refused_in_the_file_of_dev_unless_it_says_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("fpaas.yaml");
    let wrong = |name: &str, text: &str| {
        fs::write(&file, text).unwrap();
        let said = settings(&[name, "--config", file.to_str().unwrap()]).wrong;
        said.into_iter().map(|wrong| wrong.pointer).collect::<Vec<_>>()
    };
    assert_eq!(wrong("dev", "only: []\nallowWebhookCidr: [10.0.0.0/8]\n"), ["/allowWebhookCidr"]);
    assert!(wrong("serve", "allowWebhookCidr: [10.0.0.0/8]\n").is_empty());
}

#[test]
fn a_file_with_secrets_is_its_owners_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("fpaas.yaml");
    fs::write(&file, "data: a\napiKey: a-key-of-16-characters\nkafkaProperty: []\n").unwrap();
    let wrong = |mode: u32| {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        let said = settings(&["serve", "--config", file.to_str().unwrap()]).wrong;
        said.iter().map(|wrong| (wrong.pointer.clone(), wrong.to_string())).collect::<Vec<_>>()
    };
    assert!(wrong(0o600).is_empty());
    for open in [0o644, 0o640, 0o604] {
        let said = wrong(open);
        assert!(matches!(said.as_slice(), [(pointer, _)] if pointer == "/apiKey"), "{said:?}");
        assert!(said[0].1.contains("line 2") && !said[0].1.contains("a-key"), "{said:?}");
    }
}

#[test]
fn what_may_be_a_password_in_an_address_is_not_shown() {
    for (text, expected) in [
        ("wss://a.example/b", "wss://a.example/b"),
        ("wss://anna:a/b?c@d@a.example/b", "wss://…@a.example/b"),
        ("file:///a@b", "file:///a@b"),
        ("anna@a.example", "anna@a.example"),
    ] {
        assert_eq!(shown(text), expected);
    }
}
