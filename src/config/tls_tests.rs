//! Files of `tls_config` that can and can not be used, and where that is said.

use std::fs;

use rcgen::{CertificateParams, KeyPair};

use super::load::{Secrets, load};

fn issued() -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["backstop".to_owned()]).unwrap();
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

/// What is wrong with a `tls_config`, as `LINE:COLUMN: words`.
fn problems(gate: &str, tls: &str, secrets: Secrets) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    let (certificate, key) = issued();
    let broken = certificate.replace(certificate.lines().nth(1).unwrap(), "AAAA");
    write("cert.pem", &certificate);
    write("key.pem", &key);
    write("other-key.pem", &issued().1);
    write("broken.pem", &broken);
    write("text.pem", "planted");
    let text = format!("spinnaker:\n  gate: {gate}\n  tls_config:\n{tls}");
    write("backstop.yaml", &text);
    let found = load(Some(&folder.path().join("backstop.yaml")), secrets);
    let found = found.err().unwrap_or_default();
    let found = found.iter().map(ToString::to_string);
    found
        .map(|text| {
            let (_, rest) = text.split_once("/backstop.yaml:").unwrap();
            rest.to_owned()
        })
        .collect()
}

#[test]
fn what_is_wrong_with_tls_files_is_named_with_its_place() {
    let (gate, both) = (
        "https://gate",
        "    cert_file: cert.pem\n    key_file: key.pem\n",
    );
    let read = |tls: &str| problems(gate, tls, Secrets::Read);
    let whole = format!("    ca_file: cert.pem\n{both}");
    assert_eq!(read(&whole), Vec::<String>::new());
    let cases = [
        (
            "    ca_file: gone.pem\n",
            "4:14: ",
            "gone.pem` can't be read",
        ),
        (
            "    ca_file: text.pem\n",
            "4:14: ",
            "no PEM certificate is in it",
        ),
        (
            "    ca_file: broken.pem\n",
            "4:14: ",
            "a certificate in it can't be used",
        ),
        ("    cert_file: cert.pem\n", "4:16: ", "belong together"),
        ("    key_file: key.pem\n", "4:15: ", "belong together"),
        (
            "    cert_file: gone.pem\n    key_file: key.pem\n",
            "4:16: ",
            "gone.pem` can't be read",
        ),
        (
            "    cert_file: key.pem\n    key_file: key.pem\n",
            "4:16: ",
            "no PEM certificate",
        ),
        (
            "    cert_file: cert.pem\n    key_file: gone.pem\n",
            "5:15: ",
            "gone.pem` can't be read",
        ),
        (
            "    cert_file: cert.pem\n    key_file: text.pem\n",
            "5:15: ",
            "no PEM private key",
        ),
        (
            "    cert_file: cert.pem\n    key_file: other-key.pem\n",
            "5:15: ",
            "does not belong to the certificate",
        ),
    ];
    for (tls, place, words) in cases {
        let found = read(tls);
        let as_expected = |text: &String| text.starts_with(place) && text.contains(words);
        assert!(
            found.len() == 1 && found.iter().all(as_expected),
            "{tls}{found:?}"
        );
        assert!(!found[0].contains("planted"), "{found:?}");
    }
    let plain = problems("http://gate", both, Secrets::Read);
    assert_eq!(plain, ["2:9: `tls_config` needs an https address"]);
    let unread = "    cert_file: gone.pem\n    key_file: gone.pem\n";
    assert_eq!(
        problems(gate, unread, Secrets::Unread),
        Vec::<String>::new()
    );
}
