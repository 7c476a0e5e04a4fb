//! The settings of a node: where each comes from, and what it is.
//!
//! ```text
//!  default.yaml ◀── file (--config) ◀── variable ◀── flag          each counts more than what stands to its left
//!        └──────────────┴──────────────────┴──────────┴──▶ texts ──▶ node::plan: values, or all that is wrong
//! ```
//!
//! Owns names, places and precedence. Does not know what a text means: that is said where it is read, by the same code
//! for a start and for `fpaas config check`.

pub(crate) mod default;
mod file;
mod given;
mod place;
mod reading;
pub(crate) mod setting;
#[cfg(test)]
mod tests;
mod wrong;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use clap::ValueEnum;

pub(crate) use given::{Flags, Given, OnCluster, Shared};
pub(crate) use reading::Reading;
use setting::{ALL, Kind, Setting};
pub(crate) use wrong::{Origin, Wrong, Wrongs};

/// Which command the settings are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// `fpaas dev`.
    Dev,
    /// `fpaas serve`.
    Serve,
}

/// Where a setting was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Flag,
    Environment,
    File,
    Default,
}

/// All settings, each from the source that counts most.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) role: Role,
    given: Given,
    /// The file as it was read.
    text: String,
    found: BTreeMap<&'static str, (Source, Vec<String>)>,
    wrong: Vec<Wrong>,
}

impl Settings {
    /// Reads the file, if one was given. Does not fail: what is wrong is kept for whoever reads the settings.
    pub(crate) fn resolve(role: Role, given: &Given) -> Self {
        let defaults =
            ALL.into_iter().map(|setting| (setting.key, (Source::Default, default::texts(setting).to_vec())));
        let (given, found) = (given.clone(), defaults.collect());
        let mut settings = Self { role, given, text: String::new(), found, wrong: Vec::new() };
        if let Some(path) = settings.given.file.clone() {
            settings.take_file(&path);
        }
        settings.found.extend(settings.given.texts.clone());
        settings.leave_out_what_dev_has_not();
        settings
    }

    /// The same from the file as it is now.
    pub(crate) fn again(&self) -> Self {
        Self::resolve(self.role, &self.given)
    }

    /// The file that was given.
    pub(crate) fn file(&self) -> Option<&Path> {
        self.given.file.as_deref()
    }

    /// Those that the command has.
    pub(crate) fn all(&self) -> impl Iterator<Item = &'static Setting> {
        ALL.into_iter().filter(|setting| self.found.contains_key(setting.key))
    }

    pub(crate) fn texts(&self, setting: &Setting) -> &[String] {
        self.found.get(setting.key).map_or(&[], |(_, texts)| texts)
    }

    /// Of the setting, or of the element of its list.
    pub(crate) fn origin(&self, setting: &Setting, element: Option<usize>) -> Origin {
        match self.found.get(setting.key).map_or(Source::Default, |(source, _)| *source) {
            Source::Flag => Origin::Flag(setting.flag),
            Source::Environment => Origin::Variable(setting.variable),
            Source::File => self.in_file(place::line(&self.text, setting.key, element)),
            Source::Default => Origin::Default,
        }
    }

    /// The keys of those that are not as they are in `other`.
    pub(crate) fn changed<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'static Setting> + 'a {
        ALL.into_iter().filter(|setting| self.texts(setting) != other.texts(setting))
    }

    fn take_file(&mut self, path: &Path) {
        let read = fs::read_to_string(path).and_then(|text| Ok((text, fs::metadata(path)?.permissions().mode())));
        let (text, mode) = match read {
            Ok(read) => read,
            Err(error) => return self.blame_file("", None, format!("cannot be read: {error}")),
        };
        let said = file::parse(&text);
        self.text = text;
        for file::Fault { pointer, line, detail } in said.faults {
            self.blame_file(&pointer, (line > 0).then_some(line), detail);
        }
        for (key, texts) in said.texts {
            let secret = ALL.iter().any(|setting| setting.key == key && setting.secret) && !texts.is_empty();
            if secret && mode & 0o077 != 0 {
                let detail = "other users of this machine can read the file: chmod 600 it, or keep this elsewhere";
                self.blame_file(&format!("/{key}"), place::line(&self.text, key, None), detail.to_owned());
            }
            self.found.insert(key, (Source::File, texts));
        }
    }

    /// A flag that it has not cannot be given to `dev`; a variable may be there for `serve`. A file is read as a whole.
    fn leave_out_what_dev_has_not(&mut self) {
        for setting in ALL.into_iter().filter(|setting| self.role == Role::Dev && setting.serve_only) {
            let Some((source, texts)) = self.found.remove(setting.key) else { continue };
            if matches!(source, Source::Flag | Source::File) && !texts.is_empty() {
                self.found.insert(setting.key, (source, texts));
                let (pointer, origin) = (format!("/{}", setting.key), self.origin(setting, None));
                let detail = "`fpaas serve` alone has this setting".to_owned();
                self.wrong.push(Wrong { pointer, origin, value: None, detail });
            }
        }
    }

    fn in_file(&self, line: Option<usize>) -> Origin {
        let path = self.file().map_or_else(String::new, |path| path.display().to_string());
        Origin::File { path, line }
    }

    fn blame_file(&mut self, pointer: &str, line: Option<usize>, detail: String) {
        let origin = self.in_file(line);
        self.wrong.push(Wrong { pointer: pointer.to_owned(), origin, value: None, detail });
    }
}

impl Role {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Dev => "dev",
            Self::Serve => "serve",
        }
    }
}

impl Setting {
    pub(crate) const fn is_list(&self) -> bool {
        matches!(self.kind, Kind::List(_))
    }
}

/// Without what stands before the host of an address, which may be a password.
pub(crate) fn shown(text: &str) -> String {
    let address = text.split_once("://").filter(|(scheme, _)| *scheme != "file");
    match address.and_then(|(scheme, rest)| Some((scheme, rest.rsplit_once('@')?.1))) {
        Some((scheme, rest)) => format!("{scheme}://…@{rest}"),
        None => text.to_owned(),
    }
}
