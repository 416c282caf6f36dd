//! Whom a client trusts, and which certificate it shows.

use std::sync::Arc;

use reqwest::{Certificate, ClientBuilder, Identity};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, RootCertStore};

use crate::domain::secret::Secret;

/// TLS of a client. As a default: the platform's roots, and no certificate is shown.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    roots: Option<Arc<[Certificate]>>,
    identity: Option<Identity>,
}

/// A file that can't be used for TLS. Its words hold nothing of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// No certificate is in it.
    #[error("no PEM certificate is in it")]
    NoCertificate,
    /// A certificate of it can't be read.
    #[error("a certificate in it can't be used")]
    BadCertificate,
    /// No private key is in it, or one of a kind that is not known.
    #[error("no PEM private key that can be used is in it")]
    BadKey,
    /// The key belongs to another certificate.
    #[error("this key does not belong to the certificate")]
    Mismatch,
}

impl Tls {
    /// Trusts the authorities of this PEM bundle and no others.
    ///
    /// # Errors
    /// When it holds none, or one that can't be used.
    pub fn trust_only(&mut self, authorities: &[u8]) -> Result<(), TlsError> {
        let mut store = RootCertStore::empty();
        let mut roots = Vec::new();
        for authority in certificates(authorities)? {
            let root = Certificate::from_der(&authority).map_err(|_| TlsError::BadCertificate)?;
            store.add(authority).map_err(|_| TlsError::BadCertificate)?;
            roots.push(root);
        }
        self.roots = Some(roots.into());
        Ok(())
    }

    /// Shows this certificate, its own first and then those that lead to its authority, to a
    /// server that asks for one.
    ///
    /// # Errors
    /// When certificate or key can't be used, or they don't belong together.
    pub fn show(&mut self, chain: &[u8], key: &Secret) -> Result<(), TlsError> {
        let certificates = certificates(chain)?;
        let private =
            PrivateKeyDer::from_pem_slice(key.expose().as_bytes()).map_err(|_| TlsError::BadKey)?;
        CertifiedKey::from_der(certificates, private, &default_provider()).map_err(|error| {
            match error {
                rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                    TlsError::Mismatch
                }
                rustls::Error::InvalidCertificate(_) => TlsError::BadCertificate,
                _ => TlsError::BadKey,
            }
        })?;
        let both = [chain, b"\n", key.expose().as_bytes()].concat();
        let identity = Identity::from_pem(&both).map_err(|_| TlsError::BadKey)?;
        self.identity = Some(identity);
        Ok(())
    }

    /// The same, showing no certificate.
    #[must_use]
    pub fn anonymous(&self) -> Self {
        Self {
            roots: self.roots.clone(),
            identity: None,
        }
    }

    pub(super) fn apply(&self, builder: ClientBuilder) -> ClientBuilder {
        let builder = match &self.roots {
            Some(roots) => builder.tls_certs_only(roots.iter().cloned()),
            None => builder,
        };
        match &self.identity {
            Some(identity) => builder.identity(identity.clone()),
            None => builder,
        }
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    match found {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) | Err(_) => Err(TlsError::NoCertificate),
    }
}
