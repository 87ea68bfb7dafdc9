//! Which addresses may be fetched from: a URL read strictly, and the guard that every resolved address must pass.
//!
//! A gateway that fetches for strangers reaches inside networks. So a URL is taken apart here, once, and what goes
//! out is made of the parts that were checked: no second parser can read it differently. What is read in more than one
//! way elsewhere (numbers for hosts, backslashes, credentials before an `@`) is refused, not interpreted.

mod public;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub use public::is_public;

use crate::config::{AllowedHost, host_name};

/// The port of https.
const HTTPS: u16 = 443;
/// Longest URL that is looked at, bytes: signed addresses of stores are long, and no honest one is longer.
const URL_MAX: usize = 8 * 1024;

/// Why a URL is not fetched, as its sender may know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Any scheme but https.
    NotHttps,
    /// It cannot be read, or can be read in more than one way.
    Malformed,
    /// A name or password before the host.
    Credentials,
    /// A port other than 443 that is not listed.
    Port,
}

/// An https URL, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    host: Host,
    port: u16,
    /// Path and query, beginning with a slash; percent-encoded.
    target: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    /// In lower case.
    Name(String),
    Literal(IpAddr),
}

impl Address {
    /// Reads an absolute URL.
    ///
    /// # Errors
    /// What is not https, or not plainly readable.
    pub fn parse(url: &str) -> Result<Self, Refusal> {
        // Spaces around an address are a slip of its writer and mean nothing.
        let url = url.trim_matches(' ');
        if url.len() > URL_MAX || url.chars().any(char::is_control) || url.contains('\\') {
            return Err(Refusal::Malformed);
        }
        let (scheme, rest) = url.split_once(':').ok_or(Refusal::Malformed)?;
        if !scheme.eq_ignore_ascii_case("https") {
            return Err(Refusal::NotHttps);
        }
        let rest = rest.strip_prefix("//").ok_or(Refusal::Malformed)?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at_checked(end).ok_or(Refusal::Malformed)?;
        let (host, port) = authority_of(authority)?;
        Ok(Self { host, port, target: target_of(target) })
    }

    /// Where a redirect from here leads.
    ///
    /// # Errors
    /// As [`Address::parse`].
    pub fn join(&self, location: &str) -> Result<Self, Refusal> {
        let location = location.trim_matches(' ');
        let end = location.find(['/', '?', '#']).unwrap_or(location.len());
        if location.get(..end).is_some_and(|start| start.contains(':')) {
            return Self::parse(location);
        }
        if location.starts_with("//") {
            return Self::parse(&format!("https:{location}"));
        }
        let path = self.target.split('?').next().unwrap_or("/");
        let folder = path.rfind('/').and_then(|at| path.get(..=at)).unwrap_or("/");
        let target = match location.as_bytes().first() {
            Some(b'/') => location.to_owned(),
            Some(b'?') => format!("{path}{location}"),
            _ => format!("{folder}{location}"),
        };
        // Through the reader once more: length and forbidden characters are its business.
        Self::parse(&format!("https://{}{target}", self.authority()))
    }

    /// The URL as it is asked for.
    pub fn url(&self) -> String {
        format!("https://{}{}", self.authority(), self.target)
    }

    /// Value of the `Host` header: the port only when it is not 443.
    pub fn authority(&self) -> String {
        let port = if self.port == HTTPS { String::new() } else { format!(":{}", self.port) };
        match &self.host {
            Host::Name(name) => format!("{name}{port}"),
            Host::Literal(IpAddr::V4(address)) => format!("{address}{port}"),
            Host::Literal(IpAddr::V6(address)) => format!("[{address}]{port}"),
        }
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The address itself, where the host is one and needs no resolving.
    pub fn literal(&self) -> Option<IpAddr> {
        match self.host {
            Host::Literal(address) => Some(address),
            Host::Name(_) => None,
        }
    }
}

fn authority_of(authority: &str) -> Result<(Host, u16), Refusal> {
    if authority.contains('@') {
        return Err(Refusal::Credentials);
    }
    if let Some((inside, rest)) = authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        let address: Ipv6Addr = inside.parse().map_err(|_| Refusal::Malformed)?;
        let port = match rest.strip_prefix(':') {
            Some(port) => port_of(port)?,
            None if rest.is_empty() => HTTPS,
            None => return Err(Refusal::Malformed),
        };
        return Ok((Host::Literal(IpAddr::V6(address)), port));
    }
    let (host, port) = match authority.split_once(':') {
        Some((host, port)) => (host, port_of(port)?),
        None => (authority, HTTPS),
    };
    if let Ok(address) = host.parse::<Ipv4Addr>() {
        return Ok((Host::Literal(IpAddr::V4(address)), port));
    }
    if !host_name(host) {
        return Err(Refusal::Malformed);
    }
    Ok((Host::Name(host.to_ascii_lowercase()), port))
}

fn port_of(text: &str) -> Result<u16, Refusal> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port > 0).ok_or(Refusal::Malformed)
}

/// Path and query without fragment, every byte that HTTP's request line does not carry percent-encoded.
fn target_of(text: &str) -> String {
    let text = text.split('#').next().unwrap_or("");
    let mut target = String::with_capacity(text.len() + 1);
    if !text.starts_with('/') {
        target.push('/');
    }
    for byte in text.bytes() {
        if byte.is_ascii_graphic() && !b"\"<>^`{|}".contains(&byte) {
            target.push(char::from(byte));
        } else {
            target.push_str(&format!("%{byte:02X}"));
        }
    }
    target
}

/// What may be fetched from: everything public on port 443, and what the operator listed.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    allow: Vec<AllowedHost>,
}

impl Guard {
    /// With the operator's exceptions.
    pub fn new(allow: Vec<AllowedHost>) -> Self {
        Self { allow }
    }

    /// Looks at what can be told before anything is resolved.
    ///
    /// # Errors
    /// A port that nothing listed has.
    pub fn check(&self, address: &Address) -> Result<(), Refusal> {
        let listed = self.allow.iter().any(|entry| entry.port == address.port);
        if address.port == HTTPS || listed { Ok(()) } else { Err(Refusal::Port) }
    }

    /// True when all of these, which the host resolved to, may be connected to. One bad address among good ones is
    /// what a trap looks like: it spoils them all.
    pub fn admits_all(&self, address: &Address, mut resolved: impl Iterator<Item = IpAddr>) -> bool {
        resolved.all(|one| self.admits(address, one))
    }

    fn admits(&self, address: &Address, resolved: IpAddr) -> bool {
        let by_address = self.allow.iter().any(|entry| entry.holds(resolved, address.port));
        let public = address.port == HTTPS && is_public(resolved);
        public || by_address || self.names(address)
    }

    /// The name to resolve; `None` for a literal address.
    ///
    /// A name that is not listed ends with a dot, so that no search list of this machine turns it into an inner one.
    pub fn lookup_name(&self, address: &Address) -> Option<String> {
        match &address.host {
            Host::Name(name) if self.names(address) => Some(name.clone()),
            Host::Name(name) => Some(format!("{name}.")),
            Host::Literal(_) => None,
        }
    }

    fn names(&self, address: &Address) -> bool {
        match &address.host {
            Host::Name(name) => self.allow.iter().any(|entry| entry.names(name, address.port)),
            Host::Literal(_) => false,
        }
    }
}

#[cfg(test)]
mod tests;
