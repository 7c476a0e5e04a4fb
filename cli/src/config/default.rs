//! What every setting is where nobody says otherwise: `default.yaml`, which is part of the program.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::file;
use super::setting::Setting;

/// The file, with what is said of each setting.
pub(crate) const TEXT: &str = include_str!("default.yaml");

static TEXTS: LazyLock<BTreeMap<&'static str, Vec<String>>> = LazyLock::new(|| file::parse(TEXT).texts);

/// None where nothing is said by default.
pub(super) fn texts(setting: &Setting) -> &'static [String] {
    TEXTS.get(setting.key).map_or(&[], Vec::as_slice)
}
