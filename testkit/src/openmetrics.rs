//! A strict reader of OpenMetrics text (openmetrics.io, version 1.0), apart from what wrote it.
//!
//! It refuses what parsers may: families in pieces, samples without a type, series twice, buckets that fall.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, bail, ensure};

/// The families, by name.
pub type Families = BTreeMap<String, Family>;

/// One family.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Family {
    /// `counter`, `gauge`, `histogram`, `info`.
    pub kind: String,
    /// For people.
    pub help: String,
    /// In the order of the text.
    pub samples: Vec<Sample>,
}

/// One line.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The family's, with a suffix that the kind allows.
    pub name: String,
    /// By name.
    pub labels: BTreeMap<String, String>,
    /// As it stands.
    pub value: f64,
}

impl Family {
    /// The names of the labels of any of its samples; `le` is the histogram's own.
    pub fn labels(&self) -> BTreeSet<&str> {
        self.samples
            .iter()
            .flat_map(|sample| sample.labels.keys())
            .map(String::as_str)
            .filter(|it| *it != "le")
            .collect()
    }

    /// The value of the first sample that has these labels, among others.
    pub fn value(&self, labels: &[(&str, &str)]) -> Option<f64> {
        let has = |sample: &&Sample| {
            labels.iter().all(|(name, value)| sample.labels.get(*name).is_some_and(|it| it == value))
        };
        self.samples.iter().find(has).map(|sample| sample.value)
    }
}

/// Reads all of it, or says what is wrong with it.
pub fn parse(text: &str) -> Result<Families> {
    let body = text.strip_suffix("# EOF\n").context("the text does not end with its mark")?;
    let (mut families, mut open, mut series) = (Families::new(), String::new(), BTreeSet::new());
    for line in body.split_terminator('\n') {
        read(line, &mut families, &mut open, &mut series).with_context(|| format!("in the line {line:?}"))?;
    }
    for (name, family) in &families {
        check(family).with_context(|| format!("in the family {name}"))?;
    }
    Ok(families)
}

fn read(line: &str, families: &mut Families, open: &mut String, series: &mut BTreeSet<String>) -> Result<()> {
    let Some(meta) = line.strip_prefix("# ") else {
        let sample = sample(line)?;
        ensure!(series.insert(format!("{} {:?}", sample.name, sample.labels)), "the series is there twice");
        let family = families.get_mut(open).context("a sample before any family")?;
        ensure!(suffixes(&family.kind)?.iter().any(|it| sample.name == format!("{open}{it}")), "not of {open}");
        family.samples.push(sample);
        return Ok(());
    };
    let (keyword, rest) = meta.split_once(' ').context("no keyword")?;
    let (name, rest) = rest.split_once(' ').context("no name")?;
    if name != open {
        ensure!(is_name(name, true), "not a name");
        ensure!(families.insert(name.to_owned(), Family::default()).is_none(), "the family is there twice");
        name.clone_into(open);
    }
    let family = families.get_mut(name).context("no such family")?;
    ensure!(family.samples.is_empty(), "behind the samples");
    match keyword {
        "HELP" if family.help.is_empty() => rest.clone_into(&mut family.help),
        "TYPE" if family.kind.is_empty() => rest.clone_into(&mut family.kind),
        "UNIT" => ensure!(name.ends_with(&format!("_{rest}")), "the name does not end with the unit"),
        _ => bail!("an unknown or repeated keyword"),
    }
    Ok(())
}

fn suffixes(kind: &str) -> Result<&'static [&'static str]> {
    Ok(match kind {
        "counter" => &["_total"],
        "gauge" => &[""],
        "info" => &["_info"],
        "histogram" => &["_bucket", "_sum", "_count"],
        _ => bail!("{kind:?} is no type that is served here"),
    })
}

/// `name{label="value",…} 1`
fn sample(line: &str) -> Result<Sample> {
    let at = line.find(['{', ' ']).context("no value")?;
    let (name, mut rest) = line.split_at(at);
    ensure!(is_name(name, true), "not a name");
    let mut labels = BTreeMap::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = read_labels(inside, &mut labels)?;
    }
    let value = rest.strip_prefix(' ').context("no space before the value")?;
    ensure!(value == "+Inf" || value.starts_with(|first: char| first.is_ascii_digit() || first == '-'), "not a number");
    let value = value.parse().context("not a number")?;
    Ok(Sample { name: name.to_owned(), labels, value })
}

fn read_labels<'a>(mut rest: &'a str, labels: &mut BTreeMap<String, String>) -> Result<&'a str> {
    loop {
        let (name, quoted) = rest.split_once("=\"").context("no label")?;
        ensure!(is_name(name, false), "{name:?} is no label");
        let (mut value, mut chars) = (String::new(), quoted.char_indices());
        let end = loop {
            match chars.next().context("the value does not end")? {
                (at, '"') => break at,
                (_, '\\') => match chars.next() {
                    Some((_, 'n')) => value.push('\n'),
                    Some((_, escaped @ ('"' | '\\'))) => value.push(escaped),
                    _ => bail!("an unknown escape"),
                },
                (_, other) => value.push(other),
            }
        };
        ensure!(labels.insert(name.to_owned(), value).is_none(), "{name} is there twice");
        let after = quoted.get(end + 1..).unwrap_or_default();
        if let Some(after) = after.strip_prefix('}') {
            return Ok(after);
        }
        rest = after.strip_prefix(',').context("no comma")?;
    }
}

fn is_name(text: &str, colons: bool) -> bool {
    let letter = |it: char| it.is_ascii_alphabetic() || it == '_' || colons && it == ':';
    text.starts_with(letter) && text.chars().all(|it| letter(it) || it.is_ascii_digit())
}

fn check(family: &Family) -> Result<()> {
    ensure!(!family.kind.is_empty() && !family.help.is_empty(), "no type or no help");
    ensure!(family.samples.iter().all(|sample| sample.value >= 0.0), "a value below zero");
    ensure!(family.kind != "info" || family.samples.iter().all(|sample| sample.value == 1.0), "an info that is not 1");
    if family.kind != "histogram" {
        return Ok(());
    }
    let mut below = 0.0;
    for sample in &family.samples {
        let bound = sample.labels.get("le").map(String::as_str);
        match (sample.name.ends_with("_bucket"), bound) {
            (true, Some(bound)) => {
                ensure!(sample.value >= below, "the buckets fall");
                below = if bound == "+Inf" { 0.0 } else { sample.value };
                let of = |other: &&Sample| other.name.ends_with("_count") && same(other, sample);
                let count = family.samples.iter().find(of).context("no count")?;
                ensure!(bound != "+Inf" || count.value == sample.value, "the last bucket does not hold all");
            }
            (false, None) => {}
            _ => bail!("a bucket without a bound, or a bound without a bucket"),
        }
    }
    Ok(())
}

fn same(count: &Sample, bucket: &Sample) -> bool {
    count.labels.iter().eq(bucket.labels.iter().filter(|(name, _)| *name != "le"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RIGHT: &str = "# HELP a Some.\n# TYPE a counter\na_total{x=\"1\\\"\\n\",y=\"\"} 2\na_total 1\n# EOF\n";

    #[test]
    fn what_is_right_is_read() {
        let families = parse(RIGHT).unwrap();
        assert_eq!(families["a"].value(&[("x", "1\"\n")]), Some(2.0));
        assert_eq!(families["a"].labels(), BTreeSet::from(["x", "y"]));
        let histogram = "# HELP b_seconds B.\n# TYPE b_seconds histogram\n# UNIT b_seconds seconds\nb_seconds_sum 0.5\n\
                         b_seconds_count 2\nb_seconds_bucket{le=\"0.1\"} 1\nb_seconds_bucket{le=\"+Inf\"} 2\n# EOF\n";
        assert_eq!(parse(histogram).unwrap()["b_seconds"].samples.len(), 4);
        assert!(parse(&histogram.replace("\"0.1\"} 1", "\"0.1\"} 3")).is_err());
        assert!(parse(&histogram.replace("_count 2", "_count 3")).is_err());
        assert!(parse(&histogram.replace("UNIT b_seconds seconds", "UNIT b_seconds bytes")).is_err());
    }

    #[test]
    fn what_is_wrong_is_refused() {
        for (from, to) in [
            ("# EOF\n", ""),
            ("# EOF", "\n# EOF"),
            ("# TYPE a counter\n", ""),
            ("# HELP a Some.\n", ""),
            ("a_total 1", "a 1"),
            ("a_total 1", "a_total{x=\"1\\\"\\n\",y=\"\"} 1"),
            ("a_total 1", "a_total -1"),
            ("a_total 1", "a_total  1"),
            ("a_total 1", "a_total one"),
            ("a_total 1", "# HELP a Again.\na_total 1"),
            ("a_total 1", "# HELP b B.\n# TYPE b gauge\nb 1\na_total 1"),
            ("y=\"\"", "x=\"\""),
            ("y=\"\"", "0y=\"\""),
            ("\\n", "\\t"),
            ("\"}", "\""),
            ("counter", "summary"),
        ] {
            assert!(parse(&RIGHT.replacen(from, to, 1)).is_err(), "{from} to {to}");
        }
    }
}
