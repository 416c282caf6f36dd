//! Host names as metrics write them: with a port, in full or short, or as an address.

use std::net::IpAddr;

use crate::domain::id::Host;

/// The host of an `instance` label: its text without the port. None where that is no host's name.
pub(super) fn of_instance(instance: &str) -> Option<Host> {
    if let Ok(host) = Host::new(instance) {
        return Some(host);
    }
    let (host, port) = instance.rsplit_once(':')?;
    let is_port = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    is_port.then(|| Host::new(host).ok()).flatten()
}

/// The name without its domain, in lower case; an address is its own short name.
pub(super) fn short(host: &str) -> String {
    let lower = host.to_ascii_lowercase();
    if lower.parse::<IpAddr>().is_ok() {
        return lower;
    }
    match lower.split_once('.') {
        Some((name, _)) => name.to_owned(),
        None => lower,
    }
}

/// Whether it carries a domain.
pub(super) fn is_full(host: &str) -> bool {
    host.contains('.') && host.parse::<IpAddr>().is_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_cut_off_and_nothing_else_is_believed() {
        let of = |text| of_instance(text).map(String::from);
        assert_eq!(of("h1.example.com:9100").as_deref(), Some("h1.example.com"));
        assert_eq!(of("10.0.0.3").as_deref(), Some("10.0.0.3"));
        assert_eq!(of("h1").as_deref(), Some("h1"));
        for text in [
            "",
            ":9100",
            "h1:",
            "h1:http",
            "http://h1:9100/",
            "[::1]:9100",
            "x\"} or up{a=\"b:1",
        ] {
            assert_eq!(of(text), None, "{text:?}");
        }
    }

    #[test]
    fn an_address_has_no_domain() {
        assert_eq!(short("H1.Example.com"), "h1");
        assert_eq!(short("10.0.0.3"), "10.0.0.3");
        assert!(is_full("h1.a") && !is_full("h1") && !is_full("10.0.0.3"));
    }
}
