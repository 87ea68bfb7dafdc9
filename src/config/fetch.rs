//! What may be fetched for a request: nothing unless the operator says so, and inside networks only what is listed.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use super::units::brief;

/// The port of https.
const HTTPS: u16 = 443;
/// Longest host name that DNS has, and its longest label.
const NAME_MAX: usize = 253;
const LABEL_MAX: usize = 63;

/// Fetching for requests.
#[derive(Clone, Debug, Default)]
pub struct FetchSettings {
    /// Fetch images that a request names by address, for formats that take bytes only.
    pub images: bool,
    /// Places that may be fetched from although their addresses are not public, or on another port than 443.
    pub allow: Vec<AllowedHost>,
    /// Certificates to trust besides the built-in ones, PEM.
    pub ca_file: Option<PathBuf>,
    /// Bytes of fetched images held at once, all together, as base64.
    pub memory: u64,
}

/// A place that the operator listed: `host`, `address` or `network/bits`, with `:port` where it is not 443.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedHost {
    hosts: Hosts,
    /// The port.
    pub port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Hosts {
    /// A host by its name, whatever it resolves to.
    Name(String),
    /// Addresses with these first bits, whatever the name that led there.
    Net(IpAddr, u8),
}

impl AllowedHost {
    /// Reads an entry; the error says what to write.
    pub fn parse(entry: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("`{}` {why}", brief(entry));
        let bad_port = || wrong("has no valid port; write a number from 1 to 65535 after the colon");
        let (place, port) = split_port(entry);
        let port = match port {
            None => HTTPS,
            Some(text) => text.parse().ok().filter(|port| *port > 0).ok_or_else(bad_port)?,
        };
        let hosts = match (place.split_once('/'), place.parse::<IpAddr>()) {
            (None, Ok(address)) => Hosts::Net(address.to_canonical(), width(address.to_canonical())),
            (None, Err(_)) if host_name(place) => Hosts::Name(place.to_ascii_lowercase()),
            (None, Err(_)) => {
                return Err(wrong(
                    "is no host; write a full name, an address or a network such as 10.2.0.0/16",
                ));
            }
            (Some((base, bits)), _) => {
                let base: IpAddr =
                    base.parse().map_err(|_| wrong("is no network; write e.g. 10.2.0.0/16"))?;
                let bits: u8 = bits.parse().map_err(|_| wrong("has no length; write e.g. 10.2.0.0/16"))?;
                if bits == 0 || bits > width(base) {
                    return Err(wrong("has a length that is out of range; list what is meant and no more"));
                }
                if first_bits(base, bits) != number(base) {
                    return Err(wrong("has bits beyond its length; write the network's first address"));
                }
                Hosts::Net(base, bits)
            }
        };
        Ok(Self { hosts, port })
    }

    /// Listed by this very name.
    pub fn names(&self, host: &str, port: u16) -> bool {
        self.port == port && matches!(&self.hosts, Hosts::Name(name) if name == host)
    }

    /// Listed by an address or network that holds this address.
    pub fn holds(&self, address: IpAddr, port: u16) -> bool {
        let address = address.to_canonical();
        match self.hosts {
            Hosts::Net(base, bits) => {
                let same_kind = base.is_ipv4() == address.is_ipv4();
                self.port == port && same_kind && first_bits(address, bits) == number(base)
            }
            Hosts::Name(_) => false,
        }
    }
}

impl fmt::Display for AllowedHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.hosts {
            Hosts::Name(name) => write!(f, "{name}:{}", self.port),
            Hosts::Net(base, bits) => write!(f, "{base}/{bits}:{}", self.port),
        }
    }
}

/// `place:port`; brackets around an IPv6 place are taken off.
fn split_port(entry: &str) -> (&str, Option<&str>) {
    let bracketed = entry.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    if let Some((inside, rest)) = bracketed.filter(|(inside, _)| inside.contains(':')) {
        // What follows the bracket without a colon is no port: the empty one is refused.
        return (inside, rest.strip_prefix(':').or((!rest.is_empty()).then_some("")));
    }
    // The colons of a bare IPv6 address are its own; after a network's length one can only begin a port.
    let after = entry.find('/').unwrap_or(0);
    if after == 0 && entry.parse::<IpAddr>().is_ok() {
        return (entry, None);
    }
    match entry.get(after..).and_then(|rest| rest.rfind(':')) {
        Some(at) => (entry.get(..after + at).unwrap_or(""), entry.get(after + at + 1..)),
        None => (entry, None),
    }
}

/// True for a host name as DNS has it, other than one that could be read as a number.
pub fn host_name(text: &str) -> bool {
    let label = |label: &str| {
        (1..=LABEL_MAX).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last = text.rsplit('.').next().unwrap_or("");
    // What resolvers take for a number in some notation: 2130706433, 0x7f.1, 127.0.0.01.
    let numeric = last.bytes().all(|b| b.is_ascii_digit())
        || last.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("0x"));
    text.len() <= NAME_MAX && !numeric && text.split('.').all(label)
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// The address with everything after its first `bits` bits cleared.
fn first_bits(address: IpAddr, bits: u8) -> u128 {
    let below = u32::from(width(address).saturating_sub(bits));
    number(address).checked_shr(below).and_then(|kept| kept.checked_shl(below)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_hosts_addresses_and_networks_with_a_port_where_it_is_not_443() {
        for (entry, read) in [
            ("Images.Example.internal", "images.example.internal:443"),
            ("images.internal:8443", "images.internal:8443"),
            ("10.1.2.3", "10.1.2.3/32:443"),
            ("10.1.2.3:8443", "10.1.2.3/32:8443"),
            ("10.0.0.0/8", "10.0.0.0/8:443"),
            ("10.0.0.0/8:8443", "10.0.0.0/8:8443"),
            ("::1", "::1/128:443"),
            ("[::1]:8443", "::1/128:8443"),
            ("fd00::/8", "fd00::/8:443"),
            ("fd00::/8:8443", "fd00::/8:8443"),
            ("[fd00::/8]:8443", "fd00::/8:8443"),
            ("::ffff:10.0.0.1", "10.0.0.1/32:443"),
        ] {
            assert_eq!(
                AllowedHost::parse(entry).map(|entry| entry.to_string()).as_deref(),
                Ok(read),
                "{entry}"
            );
        }
    }

    #[test]
    fn entries_that_mean_more_than_they_say_are_refused() {
        for entry in [
            "",
            "*",
            "*.example.com",
            "https://example.com",
            "example.com/path",
            "a..b",
            "a b",
            "example.com.",
            "10.0.0.1/8",
            "0.0.0.0/0",
            "::/0",
            "10.0.0.0/33",
            "10.0.0.0/",
            "10.1",
            "0x7f.1",
            "127.0.0.01",
            "2130706433",
            "example.com:0",
            "example.com:",
            "example.com:65536",
            "[::1]8443",
            "[10.0.0.1]",
            "-a.example",
        ] {
            assert!(AllowedHost::parse(entry).is_err(), "{entry}");
        }
    }

    #[test]
    fn a_network_holds_what_begins_like_it_and_a_name_only_itself() {
        let listed = |entry: &str, address: &str, port| {
            AllowedHost::parse(entry).unwrap().holds(address.parse().unwrap(), port)
        };
        for (entry, address, port, expected) in [
            ("10.2.0.0/16", "10.2.255.255", 443, true),
            ("10.2.0.0/16", "10.3.0.0", 443, false),
            ("10.2.0.0/16", "10.2.0.1", 444, false),
            ("10.2.0.0/16", "::ffff:10.2.0.1", 443, true),
            ("10.2.0.0/16", "::a02:1", 443, false),
            ("127.0.0.1", "127.0.0.1", 443, true),
            ("127.0.0.1", "127.0.0.2", 443, false),
            ("fd00::/8", "fdff::1", 443, true),
            ("fd00::/8", "fe80::1", 443, false),
            ("localhost", "127.0.0.1", 443, false),
        ] {
            assert_eq!(listed(entry, address, port), expected, "{entry} {address}");
        }
        let named = AllowedHost::parse("images.internal:8443").unwrap();
        assert!(named.names("images.internal", 8443));
        assert!(!named.names("images.internal", 443) && !named.names("x.images.internal", 8443));
    }
}
