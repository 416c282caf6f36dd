//! Links that carry their own permission: `<name>.<expiry>.<signature>`.
//!
//! The name is an id, or several joined by `~`. The signature is HMAC-SHA256 over what the link is for, the name and the expiry (Unix seconds),
//! so that a chart's link can never be used as another kind of link.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use sha2::Sha256;

use crate::domain::id;
use crate::domain::secret::Secret;

/// What a link is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Looking at a chart.
    Chart,
    /// Answering a question: `<approval>~<channel the link was sent to>`.
    Approve,
}

impl Purpose {
    fn name(self) -> &'static [u8] {
        match self {
            Self::Chart => b"chart",
            Self::Approve => b"approve",
        }
    }
}

/// Signs links and checks them. Every replica has the same key.
#[derive(Debug, Clone)]
pub struct Signer(Secret);

impl Signer {
    /// One with this key.
    pub fn new(key: Secret) -> Self {
        Self(key)
    }

    /// The signed form of `name`, good until `expires`.
    pub fn sign(&self, purpose: Purpose, name: &str, expires: Timestamp) -> String {
        let expires = expires.as_second();
        let signature = self.mac(purpose, name, expires).finalize().into_bytes();
        format!("{name}.{expires}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// The name in a signed text; None when it was not signed by us for this, or is too old.
    pub fn verify(&self, purpose: Purpose, signed: &str, now: Timestamp) -> Option<String> {
        let (rest, signature) = signed.rsplit_once('.')?;
        let (name, expires) = rest.rsplit_once('.')?;
        let expires = expires.parse::<i64>().ok()?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        let mac = self.mac(purpose, name, expires);
        // Compares in constant time.
        mac.verify_slice(&signature).ok()?;
        let named = name.split('~').all(id::is_id);
        (now.as_second() < expires && named).then(|| name.to_owned())
    }

    fn mac(&self, purpose: Purpose, name: &str, expires: i64) -> Hmac<Sha256> {
        // One block, so that keys of any length work alike.
        let mut key = [0; 64];
        let digest = <Sha256 as sha2::Digest>::digest(self.0.expose().as_bytes());
        key.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
        let mut mac = Hmac::<Sha256>::new(&key.into());
        for part in [
            purpose.name(),
            name.as_bytes(),
            expires.to_string().as_bytes(),
        ] {
            mac.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            mac.update(part);
        }
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    #[test]
    fn only_what_was_signed_and_is_not_too_old_opens() {
        let signer = Signer::new(Secret::new("k"));
        let signed = signer.sign(Purpose::Chart, "a.b-1", at(100));
        let open = |text: &str, now| signer.verify(Purpose::Chart, text, at(now));
        assert_eq!(open(&signed, 99).as_deref(), Some("a.b-1"));
        assert_eq!(open(&signed, 100), None);
        assert_eq!(open(&signed.replace("a.b", "a.c"), 1), None);
        assert_eq!(open(&signed.replace(".100.", ".900."), 1), None);
        assert_eq!(open("", 1), None);
        assert_eq!(open("..", 1), None);
        let other = Signer::new(Secret::new("k2"));
        assert_eq!(other.verify(Purpose::Chart, &signed, at(1)), None);
    }

    #[test]
    fn a_link_is_good_for_what_it_was_made_for() {
        let signer = Signer::new(Secret::new("k"));
        let signed = signer.sign(Purpose::Chart, "checkout@prod-7~ops", at(100));
        assert_eq!(signer.verify(Purpose::Approve, &signed, at(1)), None);
        let signed = signer.sign(Purpose::Approve, "checkout@prod-7~ops", at(100));
        let name = signer.verify(Purpose::Approve, &signed, at(1));
        assert_eq!(name.as_deref(), Some("checkout@prod-7~ops"));
    }

    #[test]
    fn a_signed_path_can_not_leave_its_folder() {
        let signer = Signer::new(Secret::new("k"));
        let signed = signer.sign(Purpose::Chart, "../lanes/x", at(100));
        assert_eq!(signer.verify(Purpose::Chart, &signed, at(1)), None);
    }
}
