//! A record's headers as one run of bytes: written once, read without copying.
//!
//! Layout: per header `u8 name length, name, u32 LE value length, value`. This is also how the embedded log stores
//! them. A header may repeat, as in Kafka; [`Headers::get`] answers the last one.

use bytes::Bytes;

/// Headers in their order. Cheap to clone; an empty list owns nothing.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers(Bytes);

impl Headers {
    /// Takes bytes in the layout above, or refuses them.
    pub fn from_bytes(bytes: Bytes) -> Option<Self> {
        let mut rest: &[u8] = &bytes;
        while !rest.is_empty() {
            (_, _, rest) = split(rest)?;
        }
        Some(Self(bytes))
    }

    /// The bytes in the layout above.
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// The value of the last header named `name`.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.iter().filter(|(key, _)| *key == name).last().map(|(_, value)| value)
    }

    /// The same as text, if it is UTF-8.
    pub fn get_str(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let mut rest: &[u8] = &self.0;
        std::iter::from_fn(move || {
            let (name, value, after) = split(rest)?;
            rest = after;
            Some((name, value))
        })
    }

    /// True of a record without headers.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl std::fmt::Debug for Headers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.iter().map(|(name, value)| (name, String::from_utf8_lossy(value)))).finish()
    }
}

fn split(bytes: &[u8]) -> Option<(&str, &[u8], &[u8])> {
    let (name_length, rest) = bytes.split_first()?;
    let (name, rest) = rest.split_at_checked(usize::from(*name_length))?;
    let (value_length, rest) = rest.split_first_chunk::<4>()?;
    let (value, rest) = rest.split_at_checked(u32::from_le_bytes(*value_length) as usize)?;
    Some((std::str::from_utf8(name).ok()?, value, rest))
}

/// Writes headers in order.
#[derive(Debug, Default)]
pub struct HeadersBuilder(Vec<u8>);

impl HeadersBuilder {
    /// An empty list.
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts from headers that are already there.
    pub fn from_headers(headers: &Headers) -> Self {
        Self(headers.as_bytes().to_vec())
    }

    /// Adds one. A name is at most 255 bytes and a value below 4 GiB; what is longer is cut (no caller of ours is
    /// near).
    #[must_use]
    pub fn with(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.push(name, value.as_ref());
        self
    }

    /// The same by reference.
    pub fn push(&mut self, name: &str, value: &[u8]) {
        let name = name.get(..name.len().min(255)).unwrap_or_default();
        self.0.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(&u32::try_from(value.len()).unwrap_or(u32::MAX).to_le_bytes());
        self.0.extend_from_slice(value);
    }

    /// Done.
    pub fn build(self) -> Headers {
        Headers(self.0.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_was_written_is_read(list in proptest::collection::vec(("[a-z.]{0,20}", proptest::collection::vec(any::<u8>(), 0..50)), 0..8)) {
            let mut builder = HeadersBuilder::new();
            for (name, value) in &list {
                builder.push(name, value);
            }
            let headers = Headers::from_bytes(builder.build().as_bytes().clone()).unwrap();
            let read: Vec<_> = headers.iter().map(|(name, value)| (name.to_owned(), value.to_vec())).collect();
            prop_assert_eq!(read, list);
        }

        #[test]
        fn any_bytes_are_read_or_refused_and_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Some(headers) = Headers::from_bytes(bytes.into()) {
                headers.iter().count();
            }
        }
    }

    #[test]
    fn the_last_of_equal_names_wins() {
        let headers = HeadersBuilder::new().with("a", "1").with("a", "2").build();
        assert_eq!(headers.get("a"), Some(&b"2"[..]));
        assert_eq!(headers.get("b"), None);
    }
}
