//! Gate behind TLS: a client certificate, a private authority, and what a refusal reads like.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use backstop::config::Config;
use backstop::config::load::{Secrets, load};
use backstop::http::CallErrorKind;
use backstop::spinnaker::{Gate, GateError, GateSettings, Login};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::support::eventually::eventually;
use crate::support::gate::{GateStandIn, Options};

struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Known by a name of its own: another authority of the same name would be a bad signature.
    fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        Self { pem, issuer }
    }

    /// Certificate and key for this name.
    fn issue(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }
}

/// TLS before the stand-in, for those who show a certificate of the same authority.
async fn behind_tls(gate: &GateStandIn, authority: &Authority) -> SocketAddr {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    let pem = authority.pem.as_bytes();
    roots
        .add(CertificateDer::from_pem_slice(pem).unwrap())
        .unwrap();
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let (certificate, key) = authority.issue("localhost");
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
        )
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let plain = gate.url().trim_start_matches("http://").to_owned();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(carry(stream, acceptor.clone(), plain.clone()));
        }
    });
    address
}

async fn carry(stream: TcpStream, acceptor: TlsAcceptor, plain: String) {
    match acceptor.accept(stream).into_fallible().await {
        Ok(mut inside) => {
            let mut gate = TcpStream::connect(plain).await.unwrap();
            // Either end may hang up at any time.
            drop(tokio::io::copy_bidirectional(&mut inside, &mut gate).await);
        }
        // The alert is on its way; closing before it is read could overtake it.
        Err((_, mut stream)) => drop(stream.read_to_end(&mut Vec::new()).await),
    }
}

/// A configuration of files in this folder: whom to trust, and what to show.
fn read(folder: &Path, gate: SocketAddr, tls: &str, trust: &Authority) -> Config {
    let mut text = format!(
        "spinnaker:\n  gate: https://localhost:{}\n  basic: {{username: gateway, password: {{file: password}}}}\n",
        gate.port()
    );
    writeln!(text, "  tls_config: {{ca_file: ca.pem{tls}}}").unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
    write("backstop.yaml", &text);
    write("password", "gate-password\n");
    write("ca.pem", &trust.pem);
    load(Some(&folder.join("backstop.yaml")), Secrets::Read).unwrap()
}

/// A configuration that shows a certificate of this authority.
fn shown(folder: &Path, gate: SocketAddr, trust: &Authority, of: &Authority) -> Config {
    let (certificate, key) = of.issue("backstop");
    std::fs::write(folder.join("cert.pem"), certificate).unwrap();
    std::fs::write(folder.join("key.pem"), key).unwrap();
    let files = ", cert_file: cert.pem, key_file: key.pem";
    read(folder, gate, files, trust)
}

fn client(config: &Config) -> Gate {
    let spinnaker = config.spinnaker.as_ref().unwrap();
    let basic = spinnaker.basic.as_ref().unwrap();
    let login = Login::Basic {
        username: basic.username.clone(),
        password: basic.password.expose().into(),
    };
    Gate::new(GateSettings {
        tls: spinnaker.tls.clone(),
        ..GateSettings::new(spinnaker.gate.clone(), login)
    })
    .unwrap()
}

fn refused(error: &GateError, kind: CallErrorKind, words: &str) {
    assert_eq!(error.kind(), kind, "{error:?}");
    assert!(error.to_string().contains(words), "{error}");
}

#[tokio::test]
async fn gate_is_reached_with_the_right_certificate_only() {
    let gate = GateStandIn::with(Options::default()).await;
    let (ours, foreign) = (Authority::new("ours"), Authority::new("foreign"));
    let address = behind_tls(&gate, &ours).await;
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();

    let config = shown(folder, address, &ours, &ours);
    client(&config).probe().await.unwrap();
    assert!(!format!("{config:?}").contains("PRIVATE"));

    let config = shown(folder, address, &ours, &foreign);
    let error = client(&config).probe().await.unwrap_err();
    let words = "Gate: the other side refuses our client certificate";
    refused(&error, CallErrorKind::Auth, words);

    let config = read(folder, address, "", &ours);
    let error = client(&config).probe().await.unwrap_err();
    let words = "Gate: the other side wants a client certificate";
    refused(&error, CallErrorKind::Auth, words);

    let config = shown(folder, address, &foreign, &ours);
    let error = client(&config).probe().await.unwrap_err();
    let words = "Gate: the other side's certificate is not trusted";
    refused(&error, CallErrorKind::Network, words);
}

/// `check --online` uses the same settings, and its answer names the reason.
#[tokio::test]
async fn the_check_says_why_gate_refuses() {
    let gate = GateStandIn::with(Options::default()).await;
    let (ours, foreign) = (Authority::new("ours"), Authority::new("foreign"));
    let address = behind_tls(&gate, &ours).await;
    let folder = tempfile::tempdir().unwrap();
    // A machine under load may be too late for the check's own deadline; the next answer is not.
    let says = async |words: &str| {
        let said = RefCell::new(String::new());
        let heard = eventually(Duration::from_mins(1), words, async || {
            let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_backstop"))
                .args(["check", "--online"])
                .current_dir(folder.path())
                .env_clear()
                .output()
                .await
                .unwrap();
            said.replace(String::from_utf8(output.stdout).unwrap());
            said.borrow().contains(words).then_some(())
        })
        .await;
        assert!(heard.is_ok(), "{words}: {}", said.borrow());
    };
    shown(folder.path(), address, &ours, &ours);
    says("gate: ok: the login is accepted").await;
    shown(folder.path(), address, &ours, &foreign);
    says("gate: failed: the other side refuses our client certificate").await;
    shown(folder.path(), address, &foreign, &ours);
    says("gate: unreachable: the other side's certificate is not trusted").await;
}
