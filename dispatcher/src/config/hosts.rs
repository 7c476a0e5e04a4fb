//! Names of hosts as an operator lists them: whole names, and `*.suffix` for what ends in one.

use std::sync::Arc;

use url::Host;

/// Any number of such names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hosts(Arc<[Pattern]>);

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    name: String,
    below: bool,
}

impl Pattern {
    /// A name such as `hooks.example.com`, or `*.example.com` for every name below that one, itself not. Says what is
    /// right instead.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let wrong = "must be the name of a host, such as hooks.example.com or *.example.com";
        let (name, below) = text.strip_prefix("*.").map_or((text, false), |suffix| (suffix, true));
        match Host::parse(name) {
            Ok(Host::Domain(name)) if !name.contains('*') && !plain(&name).is_empty() => {
                Ok(Self { name: plain(&name).to_owned(), below })
            }
            _ => Err(wrong),
        }
    }

    fn has(&self, name: &str) -> bool {
        match name.strip_suffix(self.name.as_str()) {
            Some("") => !self.below,
            Some(labels) => self.below && labels.len() > 1 && labels.ends_with('.'),
            None => false,
        }
    }
}

impl Hosts {
    /// True where none is listed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// True of a name as it stands in a URL, in lower case.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|pattern| pattern.has(plain(name)))
    }
}

impl FromIterator<Pattern> for Hosts {
    fn from_iter<I: IntoIterator<Item = Pattern>>(patterns: I) -> Self {
        Self(patterns.into_iter().collect())
    }
}

/// Without the dot that ends a name in full.
fn plain(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_listed_whole_or_by_what_it_ends_in() {
        let hosts: Hosts = ["A.example", "*.b.example", "münchen.example."]
            .map(|text| Pattern::parse(text).unwrap())
            .into_iter()
            .collect();
        for name in
            ["a.example", "a.example.", "x.b.example", "x.y.b.example", "x.b.example.", "xn--mnchen-3ya.example"]
        {
            assert!(hosts.has(name), "{name}");
        }
        for name in
            ["x.a.example", "b.example", ".b.example", "xb.example", "aa.example", "a.example.evil", "example", ""]
        {
            assert!(!hosts.has(name), "{name}");
        }
    }

    #[test]
    fn what_is_no_name_is_no_pattern() {
        for text in [
            "",
            "*",
            "*.",
            ".",
            "*.*.a",
            "a.*",
            "10.0.0.1",
            "0x7f.1",
            "[::1]",
            "a/b",
            "a:80",
            "https://a.example",
            "a b",
        ] {
            assert!(Pattern::parse(text).is_err(), "{text}");
        }
    }
}
