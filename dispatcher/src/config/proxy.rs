//! The proxy that calls go through, where an operator has one.

use std::fmt;

use url::Url;

/// An HTTP proxy: asked to `CONNECT` for https, and for the whole URL for http.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy(Url);

impl Proxy {
    /// `http://[user:password@]host:port`. Says what is right instead.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let wrong = "must be http://host:port or http://user:password@host:port";
        let url = Url::parse(text).map_err(|_| wrong)?;
        let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        if url.scheme() == "http" && url.has_host() && bare { Ok(Self(url)) } else { Err(wrong) }
    }

    pub(crate) fn client(&self) -> reqwest::Result<reqwest::Proxy> {
        reqwest::Proxy::all(self.0.clone())
    }
}

/// Without its password.
impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "http://{}:{}",
            self.0.host_str().unwrap_or_default(),
            self.0.port_or_known_default().unwrap_or_default()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_an_http_url_without_a_path_and_keeps_its_password() {
        let proxy = Proxy::parse("http://anna:secret@proxy.internal:3128").unwrap();
        assert_eq!(format!("{proxy:?}"), "http://proxy.internal:3128");
        for text in ["", "proxy:3128", "https://proxy:3128", "socks5://proxy", "http://proxy/path", "http://proxy/?a"] {
            assert!(Proxy::parse(text).is_err(), "{text}");
        }
    }
}
