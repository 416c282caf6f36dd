//! `tls_config` of a system that is called, in the style of Prometheus.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use super::load::Secrets;
use super::place::At;
use super::raw::SecretRef;
use super::validate::Checker;
use crate::http::{Tls, TlsError};

/// `tls_config:`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawTlsConfig {
    /// PEM of the authorities that are trusted, in place of the system's.
    #[serde(default)]
    pub ca_file: Option<At<PathBuf>>,
    /// PEM of the certificate that is shown, with those that lead to its authority.
    #[serde(default)]
    pub cert_file: Option<At<PathBuf>>,
    /// PEM of its key; a secret.
    #[serde(default)]
    pub key_file: Option<At<PathBuf>>,
}

/// Reads the files. Where secrets are not read none of them is: certificates are mounted with
/// their key.
pub(super) fn read(checker: &mut Checker<'_>, raw: &RawTlsConfig) -> Tls {
    let mut tls = Tls::default();
    if let (Some(one), None) | (None, Some(one)) = (&raw.cert_file, &raw.key_file) {
        checker.problem(one, "`cert_file` and `key_file` belong together");
    }
    if checker.secrets == Secrets::Unread {
        return tls;
    }
    if let Some(at) = &raw.ca_file
        && let Some(authorities) = bytes(checker, at)
    {
        checker.with(at, |path| {
            let trusted = tls.trust_only(&authorities);
            trusted.map_err(|error| format!("`{}`: {error}", path.display()))
        });
    }
    if let (Some(certificate), Some(key)) = (&raw.cert_file, &raw.key_file) {
        show(checker, &mut tls, certificate, key);
    }
    tls
}

fn show(checker: &mut Checker<'_>, tls: &mut Tls, certificate: &At<PathBuf>, key: &At<PathBuf>) {
    let chain = bytes(checker, certificate);
    let secret = checker.secret(&At {
        value: SecretRef::File(key.value.clone()),
        place: key.place,
    });
    let (Some(chain), Some(secret)) = (chain, secret) else {
        return;
    };
    if let Err(error) = tls.show(&chain, &secret) {
        let at = match error {
            TlsError::NoCertificate | TlsError::BadCertificate => certificate,
            TlsError::BadKey | TlsError::Mismatch => key,
        };
        checker.problem(at, format!("`{}`: {error}", at.value.display()));
    }
}

fn bytes(checker: &mut Checker<'_>, at: &At<PathBuf>) -> Option<Vec<u8>> {
    let root = checker.root.to_owned();
    checker.with(at, |path| {
        let path = root.join(path);
        std::fs::read(&path).map_err(|error| format!("`{}` can't be read: {error}", path.display()))
    })
}
