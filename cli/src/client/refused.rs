//! What the server refuses: its problem (RFC 9457) as a sentence, and what follows from it as an exit code.

use reqwest::StatusCode;
use serde::Deserialize;

use crate::exit::Failure;

/// A problem, as far as a person wants to see it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Problem {
    r#type: String,
    title: String,
    detail: String,
    errors: Vec<fpaas_core::Violation>,
}

/// Of an answer that is no success.
pub(super) async fn failure(answer: reqwest::Response) -> Failure {
    let status = answer.status();
    let text = answer.text().await.unwrap_or_default();
    classified(status, &serde_json::from_str(&text).unwrap_or_default())
}

fn classified(status: StatusCode, problem: &Problem) -> Failure {
    let message = sentence(status, problem);
    match status {
        StatusCode::UNAUTHORIZED => Failure::Key(format!("{message} (see --api-key)")),
        // The key is right, and there may be no more of what it asks for.
        StatusCode::FORBIDDEN if problem.r#type.ends_with(":quota-exceeded") => Failure::Conflict(message),
        StatusCode::FORBIDDEN => Failure::Key(format!("{message} (see --api-key)")),
        StatusCode::NOT_FOUND => Failure::NotFound(message),
        StatusCode::CONFLICT => Failure::Conflict(message),
        StatusCode::PRECONDITION_FAILED => Failure::Changed(message),
        // The last two are of what stands before a server.
        StatusCode::REQUEST_TIMEOUT
        | StatusCode::TOO_MANY_REQUESTS
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::BAD_GATEWAY
        | StatusCode::GATEWAY_TIMEOUT => Failure::NotNow(format!("{message} (try again)")),
        status if status.is_client_error() => Failure::Usage(message),
        _ => Failure::Failed(message),
    }
}

fn sentence(status: StatusCode, problem: &Problem) -> String {
    let said = [&problem.detail, &problem.title].into_iter().find(|text| !text.is_empty());
    let mut message = said.map_or_else(|| format!("the server answered {status}"), String::clone);
    for violation in &problem.errors {
        let pointer = if violation.pointer.is_empty() { "/" } else { &violation.pointer };
        message.push_str(&format!("\n  {pointer}: {}", violation.detail));
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_refuses_has_the_code_that_says_what_to_do() {
        for (status, kind, code) in [
            (400, "invalid-request", 64),
            (400, "not-supported-yet", 64),
            (401, "unauthorized", 77),
            (403, "insufficient-scope", 77),
            (403, "quota-exceeded", 79),
            (403, "", 77),
            (404, "not-found", 66),
            (405, "method-not-allowed", 64),
            (408, "request-timeout", 75),
            (409, "conflict", 79),
            (412, "precondition-failed", 79),
            (413, "content-too-large", 64),
            (415, "unsupported-media-type", 64),
            (422, "idempotency-key-reused", 64),
            (429, "too-many-tails", 75),
            (500, "internal-error", 1),
            (502, "", 75),
            (503, "unavailable", 75),
            (504, "", 75),
            (302, "", 1),
        ] {
            let problem = Problem { r#type: format!("urn:fpaas:problem:{kind}"), ..Problem::default() };
            let failure = classified(StatusCode::from_u16(status).unwrap(), &problem);
            assert_eq!(failure.code(), code, "{status} {kind}: {failure}");
        }
    }

    /// Headings of the page are "## `name` (status)".
    #[test]
    fn every_problem_that_is_documented_is_classified_as_the_page_of_commands_says() {
        let (errors, page) = (include_str!("../../../docs/errors.md"), include_str!("../../../docs/cli.md"));
        let headings =
            errors.lines().filter_map(|line| line.strip_prefix("## `")?.strip_suffix(')')?.split_once("` ("));
        let mut seen = 0;
        for (kind, status) in headings {
            let problem = Problem { r#type: format!("urn:fpaas:problem:{kind}"), ..Problem::default() };
            let code = classified(StatusCode::from_bytes(status.as_bytes()).unwrap(), &problem).code();
            let row = page.lines().find(|line| line.starts_with("| ") && line.contains(&format!("[`{kind}`]")));
            let row = row.unwrap_or_else(|| panic!("docs/cli.md has no row with {kind}"));
            assert!(row.starts_with(&format!("| {code} |")), "{kind}: {code}: {row}");
            seen += 1;
        }
        assert!(seen >= 15, "only {seen} problems were found");
    }

    #[test]
    fn a_sentence_has_every_field_that_is_wrong() {
        let errors = vec![fpaas_core::Violation::new("/a", "is wrong"), fpaas_core::Violation::new("", "too")];
        let problem = Problem { detail: "2 fields are wrong".to_owned(), errors, ..Problem::default() };
        assert_eq!(sentence(StatusCode::BAD_REQUEST, &problem), "2 fields are wrong\n  /a: is wrong\n  /: too");
        assert_eq!(sentence(StatusCode::BAD_GATEWAY, &Problem::default()), "the server answered 502 Bad Gateway");
    }
}
