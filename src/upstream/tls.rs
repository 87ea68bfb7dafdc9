//! TLS towards others: whom is trusted, and which protocol is spoken.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// Certificates of one file at most.
const CERTIFICATES_MAX: usize = 1_000;

/// The built-in roots, shared by all providers of a process.
///
/// # Errors
/// Never with the built-in roots; the type leaves room for an operator's own.
pub fn tls_config() -> Result<Arc<ClientConfig>, rustls::Error> {
    config(built_in())
}

/// The built-in roots and those of a PEM file.
///
/// # Errors
/// A file that cannot be read or holds no certificate.
pub fn tls_config_trusting(file: &Path) -> Result<Arc<ClientConfig>, rustls::Error> {
    let unreadable = |why: String| rustls::Error::General(format!("{}: {why}", file.display()));
    let mut roots = built_in();
    let mut added = 0;
    let certificates = CertificateDer::pem_file_iter(file).map_err(|error| unreadable(error.to_string()))?;
    for certificate in certificates.take(CERTIFICATES_MAX) {
        roots.add(certificate.map_err(|error| unreadable(error.to_string()))?)?;
        added += 1;
    }
    if added == 0 {
        return Err(unreadable("it holds no certificate".to_owned()));
    }
    config(roots)
}

fn built_in() -> RootCertStore {
    RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() }
}

fn config(roots: RootCertStore) -> Result<Arc<ClientConfig>, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
