//! What is wrong with settings: all of it at once, each with where it was said and a pointer.

use std::fmt;

use crate::exit::Failure;

/// Where a value was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// By this one, without its `--`.
    Flag(&'static str),
    /// By this one.
    Variable(&'static str),
    /// On this line, where it is known.
    File { path: String, line: Option<usize> },
    /// Nowhere.
    Default,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wrong {
    /// A JSON pointer: of a setting or an element of it, `""` for a file as a whole.
    pub(crate) pointer: String,
    pub(crate) origin: Origin,
    /// As it was given, where it may be shown.
    pub(crate) value: Option<String>,
    /// What is right instead.
    pub(crate) detail: String,
}

/// All that is wrong: at least one.
#[derive(Debug)]
pub(crate) struct Wrongs(pub(crate) Vec<Wrong>);

impl Origin {
    /// Without where exactly.
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Flag(_) => "flag",
            Self::Variable(_) => "environment",
            Self::File { .. } => "file",
            Self::Default => "default",
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => write!(f, "--{flag}"),
            Self::Variable(variable) => f.write_str(variable),
            Self::File { path, line: Some(line) } => write!(f, "{path}, line {line}"),
            Self::File { path, line: None } => f.write_str(path),
            Self::Default => f.write_str("default"),
        }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pointer, origin, value, detail } = self;
        write!(f, "{origin}")?;
        match (origin, value) {
            (Origin::Flag(_), Some(value)) => write!(f, " {value}"),
            (Origin::Variable(_), Some(value)) => write!(f, "={value}"),
            (Origin::Flag(_) | Origin::Variable(_), None) => Ok(()),
            (_, _) if pointer.is_empty() => Ok(()),
            (_, Some(value)) => write!(f, ", {pointer} {value}"),
            (_, None) => write!(f, ", {pointer}"),
        }?;
        write!(f, ": {detail}")
    }
}

impl fmt::Display for Wrongs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [wrong] = self.0.as_slice() {
            return write!(f, "{wrong}");
        }
        write!(f, "{} settings are wrong", self.0.len())?;
        self.0.iter().try_for_each(|wrong| write!(f, "\n  {wrong}"))
    }
}

impl From<Wrongs> for Failure {
    fn from(wrongs: Wrongs) -> Self {
        Self::Usage(wrongs.to_string())
    }
}
