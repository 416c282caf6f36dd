//! TLS of the listener: files in the Prometheus style, read again when they change.
//!
//! Every new connection looks at the files' times, so that a rotated certificate needs no
//! restart. Files that can't be used keep the last good ones in force, and say so.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::sync::Mutex;

use crate::config::TlsFiles;

/// Files that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// One can't be read as PEM.
    #[error("`{path}` can't be read as PEM")]
    Pem {
        /// Which.
        path: PathBuf,
        /// Why.
        source: rustls::pki_types::pem::Error,
    },
    /// One holds nothing.
    #[error("`{path}` holds no certificate")]
    Empty {
        /// Which.
        path: PathBuf,
    },
    /// They don't go together.
    #[error("certificate and key can't be used")]
    Unusable(#[from] rustls::Error),
    /// The client CA can't be used.
    #[error("the client CA can't be used")]
    ClientCa(#[from] rustls::server::VerifierBuilderError),
}

type Times = Vec<Option<SystemTime>>;

/// The listener's certificate, as it is now.
#[derive(Debug)]
pub struct Tls {
    files: TlsFiles,
    current: Mutex<(Times, Arc<ServerConfig>)>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// When they can't be used.
    pub async fn new(files: TlsFiles) -> Result<Self, TlsError> {
        let times = times(&files).await;
        let config = load(&files)?;
        let current = Mutex::new((times, config));
        Ok(Self { files, current })
    }

    /// What a connection that begins now is served with.
    pub(super) async fn current(&self) -> Arc<ServerConfig> {
        let now = times(&self.files).await;
        let mut current = self.current.lock().await;
        if current.0 != now {
            // Not tried again before they change once more.
            current.0 = now;
            match load(&self.files) {
                Ok(config) => current.1 = config,
                Err(error) => tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the new TLS files can't be used; the old ones stay in force"
                ),
            }
        }
        Arc::clone(&current.1)
    }
}

async fn times(files: &TlsFiles) -> Times {
    let mut times = Vec::new();
    for path in [&files.cert_file, &files.key_file]
        .into_iter()
        .chain(&files.client_ca_file)
    {
        let about = tokio::fs::metadata(path).await;
        times.push(about.and_then(|about| about.modified()).ok());
    }
    times
}

fn load(files: &TlsFiles) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?;
    let builder = match &files.client_ca_file {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(path)? {
                roots.add(certificate)?;
            }
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build()?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let key = PrivateKeyDer::from_pem_file(&files.key_file).map_err(|source| TlsError::Pem {
        path: files.key_file.clone(),
        source,
    })?;
    let mut config = builder.with_single_cert(certificates(&files.cert_file)?, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = |source| TlsError::Pem {
        path: path.to_owned(),
        source,
    };
    let chain = CertificateDer::pem_file_iter(path).map_err(pem)?;
    let chain = chain.collect::<Result<Vec<_>, _>>().map_err(pem)?;
    if chain.is_empty() {
        return Err(TlsError::Empty {
            path: path.to_owned(),
        });
    }
    Ok(chain)
}
