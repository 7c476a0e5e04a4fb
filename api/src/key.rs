//! How a key of a tenant is written: `fpaas_<id>_<secret>`, 16 and 64 hex digits, of bytes nobody can guess. Pure.

use fpaas_core::{KeyId, hash};

/// What every key begins with.
const PREFIX: &str = "fpaas_";

/// A new key: its id, and the whole of it, which is shown once.
pub(crate) fn make(id: [u8; 8], secret: [u8; 32]) -> Option<(KeyId, String)> {
    let id = KeyId::parse(&hash::to_hex(&id, 16)).ok()?;
    let text = format!("{}_{}", shown(&id), hash::to_hex(&secret, 64));
    Some((id, text))
}

/// What of a key may be seen.
pub(crate) fn shown(id: &KeyId) -> String {
    format!("{PREFIX}{id}")
}

/// Which key a text says that it is.
pub(crate) fn id_of(text: &str) -> Option<KeyId> {
    KeyId::parse(text.strip_prefix(PREFIX)?.split_once('_')?.0).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_a_key_is_read_from_it() {
        let (id, text) = make([0xab; 8], [0x1; 32]).unwrap();
        assert_eq!(text, format!("fpaas_{}_{}", "ab".repeat(8), "01".repeat(32)));
        assert_eq!((id_of(&text), shown(&id)), (Some(id), format!("fpaas_{}", "ab".repeat(8))));
        for other in ["", "fpaas_", "fpaas_ab_cd", &text.replace("fpaas", "other"), &"fpaas_".repeat(3), &text[..22]] {
            assert_eq!(id_of(other), None, "{other}");
        }
    }
}
