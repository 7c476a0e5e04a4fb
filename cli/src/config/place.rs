//! The line of a file on which a setting stands: the YAML is read once more, and reading fails there on purpose.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// From 1: that of the element `index` of a list, else that of the key.
pub(super) fn line(text: &str, key: &str, index: Option<usize>) -> Option<usize> {
    let failed = Mapping { key, index }.deserialize(serde_norway::Deserializer::from_str(text)).err()?;
    failed.location().map(|location| location.line())
}

struct Mapping<'a> {
    key: &'a str,
    index: Option<usize>,
}

/// True of the key that is looked for; fails on it if that is the place.
struct Key<'a>(&'a Mapping<'a>);

/// Fails on the element of this index.
struct Sequence(usize);

/// Fails on whatever comes.
struct Here;

impl<'de> DeserializeSeed<'de> for Mapping<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Mapping<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("settings")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(found) = map.next_key_seed(Key(&self))? {
            match self.index.filter(|_| found) {
                Some(index) => map.next_value_seed(Sequence(index))?,
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<bool, E> {
        match self.0.index {
            None if key == self.0.key => Err(E::custom("here")),
            _ => Ok(key == self.0.key),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Sequence {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Sequence {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        for _ in 0..self.0 {
            elements.next_element::<IgnoredAny>()?;
        }
        elements.next_element_seed(Here)?;
        while elements.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Here {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for Here {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nothing")
    }
}
