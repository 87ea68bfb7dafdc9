//! Where Redis is, read from one address: one server, sentinels that know the master, or a cluster.
//!
//! `redis://`, `rediss://` (TLS); `redis+sentinel://user:password@host:26379,host2/master-name/0`;
//! `redis+cluster://user:password@host:6379,host2`; and `rediss+sentinel`, `rediss+cluster`. What is wrong with one is
//! said without it, since it may hold a password.

use std::sync::Arc;

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, TlsCertificates};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

/// Where Redis is, and whom it must be signed by. Neither shown nor logged: it may hold a password.
#[derive(Clone)]
pub struct Address {
    pub(super) place: Place,
    /// Certificates to trust instead of the built-in ones, PEM.
    ca: Option<Arc<[u8]>>,
}

/// The three ways to find it.
#[derive(Clone)]
pub(super) enum Place {
    /// One server, or whatever stands in front of several.
    One(ConnectionInfo),
    /// Sentinels, the name of the master, and how to reach it.
    Sentinel(Vec<ConnectionInfo>, String, ConnectionInfo),
    /// Some nodes of a cluster.
    Cluster(Vec<ConnectionInfo>),
}

impl Address {
    /// Reads an address.
    ///
    /// # Errors
    /// What is wrong, in one line without the address.
    pub fn parse(text: &str) -> Result<Self, String> {
        Ok(Self { place: Place::parse(text)?, ca: None })
    }

    /// Trusts these certificates (PEM) instead of the built-in ones.
    ///
    /// # Errors
    /// There is none in it, or the address is not one with TLS.
    pub fn trusting(self, pem: &[u8]) -> Result<Self, &'static str> {
        let one = match &self.place {
            Place::One(info) | Place::Sentinel(_, _, info) => Some(info),
            Place::Cluster(nodes) => nodes.first(),
        };
        if !one.is_some_and(|info| matches!(info.addr(), ConnectionAddr::TcpTls { .. })) {
            return Err("is of no use: redis.url has no TLS, as in rediss://");
        }
        let mut found = CertificateDer::pem_slice_iter(pem).peekable();
        if found.peek().is_none() || found.any(|it| it.is_err()) {
            return Err("holds no certificate, or one that cannot be read");
        }
        Ok(Self { ca: Some(pem.into()), ..self })
    }

    /// What to trust, if it is not what is built in.
    pub(super) fn certificates(&self) -> Option<TlsCertificates> {
        let root_cert = Some(self.ca.as_deref()?.to_vec());
        Some(TlsCertificates { client_tls: None, root_cert })
    }
}

impl Place {
    fn parse(text: &str) -> Result<Self, String> {
        let (scheme, rest) = text.split_once("://").ok_or("has no scheme, such as redis://host:6379")?;
        let tls = scheme.starts_with("rediss");
        match scheme {
            "redis" | "rediss" => Ok(Self::One(node(text)?)),
            "redis+cluster" | "rediss+cluster" => {
                let (login, hosts, path) = parts(rest);
                if !matches!(path, "" | "0") {
                    return Err("names a database; a cluster has none".to_owned());
                }
                Ok(Self::Cluster(nodes(tls, login, hosts, 6379)?))
            }
            "redis+sentinel" | "rediss+sentinel" => {
                let (login, hosts, path) = parts(rest);
                let (master, database) = path.split_once('/').unwrap_or((path, "0"));
                if master.is_empty() {
                    return Err("names no master: redis+sentinel://host:26379/master-name".to_owned());
                }
                let scheme = if tls { "rediss" } else { "redis" };
                // Sentinels are asked without a login; the host stands for the one they will name.
                let server = node(&format!("{scheme}://{login}master:6379/{database}"))?;
                Ok(Self::Sentinel(nodes(tls, "", hosts, 26379)?, master.to_owned(), server))
            }
            _ => Err("has a scheme that is none of redis, rediss, redis+sentinel, rediss+sentinel, \
                      redis+cluster, rediss+cluster"
                .to_owned()),
        }
    }
}

/// Login with its `@`, hosts, and what follows the first slash.
fn parts(rest: &str) -> (&str, &str, &str) {
    let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
    let at = hosts.rfind('@').map_or(0, |at| at + 1);
    let (login, hosts) = hosts.split_at(at);
    (login, hosts, path)
}

fn nodes(tls: bool, login: &str, hosts: &str, port: u16) -> Result<Vec<ConnectionInfo>, String> {
    let scheme = if tls { "rediss" } else { "redis" };
    let one = |host: &str| {
        let bare = host.rsplit_once(':').is_none_or(|(_, port)| port.ends_with(']'));
        let port = if bare { format!(":{port}") } else { String::new() };
        node(&format!("{scheme}://{login}{host}{port}"))
    };
    if hosts.is_empty() {
        return Err("names no host".to_owned());
    }
    hosts.split(',').map(str::trim).map(one).collect()
}

fn node(address: &str) -> Result<ConnectionInfo, String> {
    let wrong = |_| "is no address of Redis; write redis://user:password@host:6379/0".to_owned();
    address.into_connection_info().map_err(wrong)
}

#[cfg(test)]
mod tests {
    use super::{Address, Place};

    fn shown(text: &str) -> String {
        let info = |info: &redis::ConnectionInfo| {
            let settings = info.redis_settings();
            let login = format!("{:?}/{:?}", settings.username(), settings.password());
            format!("{} {login} {}", info.addr(), settings.db())
        };
        let all = |infos: &[redis::ConnectionInfo]| infos.iter().map(info).collect::<Vec<_>>().join("; ");
        match Address::parse(text).map(|address| address.place) {
            Ok(Place::One(one)) => info(&one),
            Ok(Place::Sentinel(sentinels, master, server)) => {
                format!("{} -> {master}: {}", all(&sentinels), info(&server))
            }
            Ok(Place::Cluster(nodes)) => all(&nodes),
            Err(wrong) => wrong,
        }
    }

    #[test]
    fn an_address_says_where_redis_is() {
        for (text, expected) in [
            ("redis://h", "h:6379 None/None 0"),
            ("rediss://u:p%40x@h:7000/3", "h:7000 Some(\"u\")/Some(\"p@x\") 3"),
            ("redis+cluster://:pw@a:1,b", "a:1 None/Some(\"pw\") 0; b:6379 None/Some(\"pw\") 0"),
            (
                "redis+sentinel://u:pw@a,b:2/main/5",
                "a:26379 None/None 0; b:2 None/None 0 -> main: master:6379 Some(\"u\")/Some(\"pw\") 5",
            ),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
    }

    #[test]
    fn certificates_are_for_addresses_with_tls_and_are_looked_at() {
        let made = rcgen::generate_simple_self_signed(vec!["h".to_owned()]).unwrap();
        let pem = made.cert.pem();
        let trusting = |text: &str, pem: &str| {
            let address = Address::parse(text).unwrap().trusting(pem.as_bytes());
            address.map(|address| address.certificates().is_some()).map_err(|why| why.split(' ').next())
        };
        for text in ["rediss://h", "rediss+cluster://h", "rediss+sentinel://h/main"] {
            assert_eq!(trusting(text, &pem), Ok(true), "{text}");
            assert_eq!(trusting(text, "no certificate"), Err(Some("holds")), "{text}");
        }
        assert_eq!(trusting("redis://h", &pem), Err(Some("is")));
    }

    #[test]
    fn what_is_wrong_is_said_without_the_address() {
        for text in [
            "secret",
            "http://secret@h",
            "redis://:secret@",
            "redis+sentinel://:secret@h:1",
            "redis+cluster://:secret@",
            "redis+cluster://:secret@h/4",
            "redis://:secret@h:port",
        ] {
            let wrong = Address::parse(text).err().expect(text);
            assert!(!wrong.contains("secret") && !wrong.contains('\n'), "{text}: {wrong}");
        }
    }
}
