//! Texts become values: what does not is noted, and the next one is read.

use std::fmt::Display;

use super::setting::Setting;
use super::wrong::{Wrong, Wrongs};
use super::{Settings, shown};

/// Settings while they are read, and what was found wrong so far.
#[derive(Debug)]
pub(crate) struct Reading<'a> {
    settings: &'a Settings,
    wrong: Vec<Wrong>,
}

impl<'a> Reading<'a> {
    pub(crate) fn new(settings: &'a Settings) -> Self {
        Self { settings, wrong: settings.wrong.clone() }
    }

    /// As it was said; `None` where nothing was.
    pub(crate) fn text(&self, setting: &Setting) -> Option<&'a str> {
        self.settings.texts(setting).first().map(String::as_str)
    }

    /// All of them as they were said.
    pub(crate) fn texts(&self, setting: &Setting) -> &'a [String] {
        self.settings.texts(setting)
    }

    /// True where something was said, and be it by default.
    pub(crate) fn is_said(&self, setting: &Setting) -> bool {
        self.text(setting).is_some()
    }

    /// `None` where nothing was said, and where that is wrong.
    pub(crate) fn one<T, E: Display>(
        &mut self,
        setting: &Setting,
        parse: impl FnOnce(&'a str) -> Result<T, E>,
    ) -> Option<T> {
        parse(self.text(setting)?).map_err(|error| self.note(setting, 0, &error.to_string())).ok()
    }

    /// Those that are right.
    pub(crate) fn each<T, E: Display>(&mut self, setting: &Setting, parse: impl Fn(&str) -> Result<T, E>) -> Vec<T> {
        let (mut values, texts) = (Vec::new(), self.settings.texts(setting));
        for (index, text) in texts.iter().enumerate() {
            match parse(text) {
                Ok(value) => values.push(value),
                Err(error) => self.note(setting, index, &error.to_string()),
            }
        }
        values
    }

    /// False where that is wrong.
    pub(crate) fn is_on(&mut self, setting: &Setting) -> bool {
        self.one(setting, switch).unwrap_or(false)
    }

    /// It may be right by itself, and is wrong beside the others. What is wrong by itself is not refused again.
    pub(crate) fn refuse(&mut self, setting: &Setting, detail: impl Into<String>) {
        let (pointer, origin) = (format!("/{}", setting.key), self.settings.origin(setting, None));
        if self.wrong.iter().any(|wrong| wrong.pointer.split('/').nth(1) == Some(setting.key)) {
            return;
        }
        self.wrong.push(Wrong { pointer, origin, value: None, detail: detail.into() });
    }

    /// What was made of them, if nothing is wrong with any.
    pub(crate) fn done<T>(self, made: Option<T>) -> Result<T, Wrongs> {
        match made {
            Some(made) if self.wrong.is_empty() => Ok(made),
            _ => Err(Wrongs(self.wrong)),
        }
    }

    fn note(&mut self, setting: &Setting, index: usize, detail: &str) {
        let element = setting.is_list().then_some(index);
        let pointer = element.map_or(format!("/{}", setting.key), |index| format!("/{}/{index}", setting.key));
        let value = self.settings.texts(setting).get(index).filter(|_| !setting.secret).map(|text| shown(text));
        let origin = self.settings.origin(setting, element);
        self.wrong.push(Wrong { pointer, origin, value, detail: detail.to_owned() });
    }
}

/// As people write it in variables.
fn switch(text: &str) -> Result<bool, &'static str> {
    match text {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err("must be true or false"),
    }
}
