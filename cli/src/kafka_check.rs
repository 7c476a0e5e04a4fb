//! `fpaas kafka check`: what was found of a cluster, a line each, and what to do.

use std::ops::ControlFlow;
use std::sync::Arc;

use fpaas_core::Clock;
use fpaas_log::{Finding, Grade, Kafka, Subject};
use serde_json::json;

use crate::args::Output;
use crate::clock::WallClock;
use crate::cluster;
use crate::config::Settings;
use crate::exit::Failure;
use crate::out;

/// Looks, and says it.
pub(crate) async fn run(settings: &Settings, output: Output) -> Result<(), Failure> {
    let config = cluster::asked(settings)?;
    let clock: Arc<dyn Clock> = Arc::new(WallClock);
    let findings = Kafka::check(&config, clock).await;
    for finding in &findings {
        if let ControlFlow::Break(()) = out::line(shown(finding, output))? {
            break;
        }
    }
    outcome(&findings)
}

fn shown(finding: &Finding, output: Output) -> String {
    let Finding { subject, grade, found, advice } = finding;
    match output {
        Output::Json => {
            let grade = name(*grade);
            json!({"grade": grade, "subject": subject.as_str(), "found": found, "advice": advice}).to_string()
        }
        Output::Text => {
            let advice = advice.iter().map(|advice| format!("\n{:23}> {advice}", "")).collect::<String>();
            format!("{:6} {subject:15} {found}{advice}", name(*grade))
        }
    }
}

const fn name(grade: Grade) -> &'static str {
    match grade {
        Grade::Right => "ok",
        Grade::Note => "note",
        Grade::Warning => "warn",
        Grade::Wrong => "wrong",
        Grade::Unreachable => "away",
    }
}

/// By the worst that was found.
fn outcome(findings: &[Finding]) -> Result<(), Failure> {
    let worst = findings.iter().map(|finding| finding.grade).max().unwrap_or(Grade::Unreachable);
    let is_about_us = |finding: &Finding| finding.grade == Grade::Wrong && finding.subject == Subject::Login;
    match worst {
        Grade::Unreachable => Err(Failure::Unreachable("the cluster, or a part of it, cannot be reached".to_owned())),
        Grade::Wrong if findings.iter().any(is_about_us) => {
            Err(Failure::Usage("the cluster does not let us in".to_owned()))
        }
        Grade::Wrong => Err(Failure::Cluster("the cluster is not as FPaaS needs it".to_owned())),
        Grade::Right | Grade::Note | Grade::Warning => Ok(()),
    }
}
