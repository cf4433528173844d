//! Web origins, and the hosts and ports they are compared with: how each is read, and which of them are the same.

use super::values::Setting;
use url::Host;

/// A host and a port, as in a URL or a `Host` header. Letter case, the form of an IPv6 address, Unicode or punycode, and a
/// dot at the end make no difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    pub host: Host,
    pub port: Option<u16>,
}

impl Authority {
    /// Reads `host` or `host:port`. The error reads after "which": "has a port that …".
    pub fn read(text: &str) -> Result<Self, &'static str> {
        let (host, port) = match text.rsplit_once(':') {
            // The colons in brackets belong to an IPv6 address.
            Some((host, port)) if !port.contains(']') => (host, port),
            _ => (text, ""),
        };
        Ok(Self {
            host: read_host(host)?,
            port: read_port(port)?,
        })
    }
}

fn read_host(text: &str) -> Result<Host, &'static str> {
    let text = text.strip_suffix('.').unwrap_or(text);
    if text.is_empty() {
        return Err("names no host");
    }
    let host = match text.split_once('%') {
        // A zone is the sender's name for one of its networks, and no part of the address.
        Some((address, _zone)) if text.starts_with('[') => Host::parse(&format!("{address}]")),
        _ => Host::parse(text),
    };
    host.map_err(|_| "names a host that cannot be")
}

fn read_port(text: &str) -> Result<Option<u16>, &'static str> {
    if text.is_empty() {
        return Ok(None);
    }
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    let port = text.parse().ok().filter(|_| is_number);
    port.map(Some)
        .ok_or("has a port that is not a number up to 65535")
}

/// Where a web page comes from (RFC 6454): a scheme, a host, and a port unless it is the scheme's default. The scheme is
/// that of the page, so `ws` and `wss`, which some libraries for sockets write, are read as `http` and `https`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebOrigin {
    scheme: String,
    authority: Authority,
}

impl WebOrigin {
    /// Reads `scheme://host` or `scheme://host:port`, also with a slash at the end. The error reads after "which": "has a
    /// path".
    pub fn read(text: &str) -> Result<Self, &'static str> {
        if text.eq_ignore_ascii_case("null") {
            return Err("any page can have: it is the origin of sandboxed frames and local files");
        }
        let (scheme, rest) = text
            .split_once("://")
            .filter(|(scheme, _)| is_scheme(scheme))
            .ok_or("has no scheme such as https:// before its host")?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if let Some(problem) = rest.chars().find_map(foreign_part) {
            return Err(problem);
        }
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "ws" => "http".to_owned(),
            "wss" => "https".to_owned(),
            other => other.to_owned(),
        };
        let mut authority = Authority::read(rest)?;
        authority.port = authority
            .port
            .filter(|_| authority.port != default_port(&scheme));
        Ok(Self { scheme, authority })
    }

    /// Whether a page of this origin was served from the address that it calls. Only pages of `http` and `https` are. The
    /// two schemes are not compared: behind a proxy that ends TLS, the server does not know its own.
    pub fn is_at(&self, called: &Authority) -> bool {
        let default = default_port(&self.scheme);
        let port = called.port.filter(|_| called.port != default);
        default.is_some() && self.has_host_of(called) && self.authority.port == port
    }

    pub fn has_host_of(&self, called: &Authority) -> bool {
        self.authority.host == called.host
    }
}

impl Setting for WebOrigin {
    fn parse(text: &str) -> Result<Self, String> {
        Self::read(text).map_err(|problem| format!("lists {text:?}, which {problem}"))
    }
}

/// RFC 3986 §3.1.
fn is_scheme(text: &str) -> bool {
    text.starts_with(|symbol: char| symbol.is_ascii_alphabetic())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

/// What a symbol begins that no origin has.
fn foreign_part(symbol: char) -> Option<&'static str> {
    match symbol {
        '/' | '\\' => Some("has a path"),
        '?' => Some("has a query"),
        '#' => Some("has a fragment"),
        '@' => Some("has a user before its host"),
        '*' => Some("is a pattern; list each origin by itself"),
        blank if blank.is_whitespace() => Some("has a blank in it"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_origin_are_equal() {
        let same = [
            ("https://app.example.org", "HTTPS://App.Example.ORG:443/"),
            ("https://app.example.org", "wss://app.example.org."),
            ("http://app.example.org:8080", "ws://app.example.org:8080"),
            ("http://[::1]:5173", "http://[0:0:0:0:0:0:0:1]:5173"),
            ("http://[2001:db8::a]", "http://[2001:DB8:0::A]:80"),
            ("https://bücher.example", "https://xn--bcher-kva.example"),
            ("capacitor://localhost", "Capacitor://LOCALHOST/"),
            ("https://roost_1:8443", "https://roost_1:8443"),
        ];
        for (one, other) in same {
            assert_eq!(WebOrigin::read(one), WebOrigin::read(other), "{other}");
            assert!(WebOrigin::read(one).is_ok(), "{one}");
        }
        let different = [
            ("https://app.example.org", "http://app.example.org"),
            ("https://app.example.org", "https://app.example.org:80"),
            (
                "https://app.example.org",
                "https://app.example.org.evil.test",
            ),
            ("capacitor://localhost", "ionic://localhost"),
            ("tauri://localhost", "tauri://localhost:80"),
        ];
        for (one, other) in different {
            assert_ne!(WebOrigin::read(one), WebOrigin::read(other), "{other}");
        }
    }

    #[test]
    fn a_page_is_at_the_host_and_port_that_served_it() {
        let is_at = |origin: &str, host: &str| {
            let called = Authority::read(host).unwrap();
            WebOrigin::read(origin).unwrap().is_at(&called)
        };
        for (origin, host) in [
            ("https://name.example", "name.example"),
            ("wss://name.example", "name.example:443"),
            ("ws://name.example", "name.example:80"),
            ("https://name.example:443", "NAME.example."),
            ("http://name.example:4000", "name.example:4000"),
            ("http://name.example:4000/", "name.example.:4000"),
            ("http://[::1]:4000", "[0:0:0::1]:4000"),
            ("http://[fe80::1]:4000", "[fe80::1%25eth0]:4000"),
            ("https://bücher.example", "xn--bcher-kva.example"),
        ] {
            assert!(is_at(origin, host), "{origin} at {host}");
        }
        for (origin, host) in [
            ("https://name.example", "name.example:80"),
            ("http://name.example", "name.example:443"),
            ("https://name.example:8443", "name.example"),
            ("https://name.example.evil.test", "name.example"),
            ("https://name.example", "[::1]"),
            ("capacitor://localhost", "localhost"),
        ] {
            assert!(!is_at(origin, host), "{origin} at {host}");
        }
    }

    #[test]
    fn a_host_and_port_that_cannot_be_are_not_read() {
        for text in [
            "",
            ".",
            ":80",
            "a:b",
            "a:+80",
            "a:65536",
            "[::1",
            "::1",
            "[zz]:80",
            "a b",
            "1.2.3.999",
        ] {
            assert!(Authority::read(text).is_err(), "{text:?}");
        }
    }
}
