//! TLS: certificates that change, clients that must show one.

use std::path::Path;

use backstop::config::TlsFiles;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use super::*;

struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

fn authority() -> Authority {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let pem = params.self_signed(&key).unwrap().pem();
    Authority {
        pem,
        issuer: Issuer::new(params, key),
    }
}

impl Authority {
    /// Certificate and key for this name.
    fn issue(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    fn write(&self, folder: &Path) -> TlsFiles {
        let (certificate, key) = self.issue("localhost");
        let files = TlsFiles {
            cert_file: folder.join("cert.pem"),
            key_file: folder.join("key.pem"),
            client_ca_file: None,
        };
        std::fs::write(&files.cert_file, certificate).unwrap();
        std::fs::write(&files.key_file, key).unwrap();
        files
    }

    /// A client that trusts this authority only and keeps no connection.
    fn client(&self, identity: Option<(String, String)>) -> reqwest::Client {
        let root = reqwest::Certificate::from_pem(self.pem.as_bytes()).unwrap();
        let mut builder = reqwest::Client::builder()
            .tls_certs_only([root])
            .no_proxy()
            .pool_max_idle_per_host(0)
            .timeout(PATIENCE);
        if let Some((certificate, key)) = identity {
            let pem = format!("{certificate}{key}");
            builder = builder.identity(reqwest::Identity::from_pem(pem.as_bytes()).unwrap());
        }
        builder.build().unwrap()
    }
}

async fn served(files: TlsFiles) -> Served {
    serve(Wishes {
        tls: Some(Tls::new(files).await.unwrap()),
        server: short_drain,
        ..Wishes::default()
    })
    .await
}

fn url(served: &Served) -> String {
    format!(
        "https://localhost:{}/api/v1/releases",
        served.address.port()
    )
}

#[tokio::test]
async fn a_rotated_certificate_is_served_without_a_restart_and_a_broken_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (authority(), authority());
    let files = old.write(folder.path());
    let served = served(files.clone()).await;
    let url = url(&served);
    assert_eq!(
        old.client(None).get(&url).send().await.unwrap().status(),
        200
    );
    assert!(new.client(None).get(&url).send().await.is_err());

    // A half-written file keeps the old one in force.
    std::fs::write(&files.cert_file, "-----BEGIN CERTI").unwrap();
    assert_eq!(
        old.client(None).get(&url).send().await.unwrap().status(),
        200
    );

    new.write(folder.path());
    assert_eq!(
        new.client(None).get(&url).send().await.unwrap().status(),
        200
    );
    assert!(old.client(None).get(&url).send().await.is_err());
    served.finish().await;
}

#[tokio::test]
async fn a_client_without_the_wanted_certificate_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, foreign) = (authority(), authority());
    let mut files = ours.write(folder.path());
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, &ours.pem).unwrap();
    files.client_ca_file = Some(ca);
    let served = served(files).await;
    let url = url(&served);
    let client = ours.client(Some(ours.issue("alertmanager")));
    assert_eq!(client.get(&url).send().await.unwrap().status(), 200);
    assert!(ours.client(None).get(&url).send().await.is_err());
    let stranger = ours.client(Some(foreign.issue("alertmanager")));
    assert!(stranger.get(&url).send().await.is_err());
    served.finish().await;
}

#[tokio::test]
async fn files_that_can_not_be_used_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let mut files = authority().write(folder.path());
    files.key_file = folder.path().join("missing.pem");
    let error = Tls::new(files).await.unwrap_err();
    assert!(error.to_string().contains("missing.pem"), "{error}");
}
