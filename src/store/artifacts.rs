//! Where hosts fetch releases from: signed addresses on S3, files that the gateway serves.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use object_store::aws::AmazonS3;
use object_store::path::Path;
use object_store::signer::Signer as _;
use object_store::{ObjectStore, ObjectStoreExt as _};
use url::Url;

use super::open::{OpenError, StoreSettings, bucket_of, open_objects, s3};
use super::{StoreError, describe, unavailable};

/// The bytes of a file, in order.
pub type Pieces = BoxStream<'static, std::io::Result<Bytes>>;

/// A place of artifacts. One key below it is one file.
#[derive(Debug)]
pub struct ArtifactPlace {
    /// `s3://bucket/prefix` or `file:/path`, without a slash at its end.
    url: String,
    way: Way,
}

#[derive(Debug)]
enum Way {
    /// Hosts fetch it themselves.
    Signed(Arc<AmazonS3>, Path),
    /// They fetch it from us.
    Served(Arc<dyn ObjectStore>),
}

impl ArtifactPlace {
    /// Opens the place that `settings` name; one request takes at most `timeout`.
    ///
    /// # Errors
    /// When it can't be opened.
    pub fn open(settings: &StoreSettings, timeout: Duration) -> Result<Self, OpenError> {
        let way = match bucket_of(&settings.url) {
            Some((bucket, prefix)) => {
                let prefix = Path::from(prefix);
                Way::Signed(Arc::new(s3(settings, bucket, timeout)?), prefix)
            }
            None => Way::Served(open_objects(settings, timeout)?),
        };
        Ok(Self {
            url: plain(&settings.url).trim_end_matches('/').to_owned(),
            way,
        })
    }

    /// The key of the file at `url`; None: it is not kept here.
    pub fn key_of(&self, url: &str) -> Option<Path> {
        let url = plain(url);
        let rest = url.strip_prefix(&self.url)?.strip_prefix('/')?;
        let key = Path::parse(rest).ok()?;
        (!rest.is_empty()).then_some(key)
    }

    /// An address that opens the file to whoever has it, for `lasting`; None: it is served by us.
    ///
    /// # Errors
    /// When there are no credentials to sign with.
    pub async fn signed(&self, key: &Path, lasting: Duration) -> Result<Option<Url>, StoreError> {
        let Way::Signed(signer, prefix) = &self.way else {
            return Ok(None);
        };
        let whole: Path = prefix.parts().chain(key.parts()).collect();
        let signed = signer.signed_url(reqwest::Method::GET, &whole, lasting);
        let signed = signed
            .await
            .map_err(|error| unavailable(key.as_ref(), &error))?;
        Ok(Some(signed))
    }

    /// The size of the file and its bytes, where we serve it; None: there is no such file here.
    ///
    /// # Errors
    /// When it can't be read.
    pub async fn read(&self, key: &Path) -> Result<Option<(u64, Pieces)>, StoreError> {
        let Way::Served(objects) = &self.way else {
            return Ok(None);
        };
        match objects.get(key).await {
            Ok(object) => {
                let size = object.meta.size;
                let pieces = object
                    .into_stream()
                    .map(|piece| piece.map_err(|error| std::io::Error::other(describe(&error))));
                Ok(Some((size, pieces.boxed())))
            }
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(unavailable(key.as_ref(), &error)),
        }
    }
}

/// `file:///x` and `file:/x` are one place.
fn plain(url: &str) -> String {
    match url.strip_prefix("file://") {
        Some(path) => format!("file:{path}"),
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt as _;

    use super::*;
    use crate::domain::secret::Secret;

    fn settings(url: &str) -> StoreSettings {
        StoreSettings {
            url: url.to_owned(),
            endpoint: Some("http://127.0.0.1:9".parse().unwrap()),
            region: None,
            keys: Some(("id".into(), Secret::new("key"))),
        }
    }

    #[tokio::test]
    async fn a_file_of_a_directory_is_served_and_nothing_outside_it() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("in/s")).unwrap();
        std::fs::write(folder.path().join("in/s/a"), b"bytes").unwrap();
        std::fs::write(folder.path().join("secret"), b"no").unwrap();
        let root = format!("file:{}/in", folder.path().display());
        let place = ArtifactPlace::open(&settings(&root), Duration::from_secs(5)).unwrap();
        let key = place.key_of(&format!("file://{}/in/s/a", folder.path().display()));
        let (size, pieces) = place.read(&key.unwrap()).await.unwrap().unwrap();
        let pieces: Vec<Bytes> = pieces.try_collect().await.unwrap();
        assert_eq!((size, pieces.concat()), (5, b"bytes".to_vec()));
        for foreign in [
            format!("{root}/../secret"),
            format!("{root}/"),
            root.clone(),
            format!("{root}side/a"),
            "file:/etc/passwd".to_owned(),
            "s3://b/k".to_owned(),
        ] {
            assert_eq!(place.key_of(&foreign), None, "{foreign}");
        }
    }

    #[tokio::test]
    async fn a_file_of_a_bucket_has_a_signed_address_for_a_time() {
        let settings = settings("s3://artifacts/prod");
        let place = ArtifactPlace::open(&settings, Duration::from_secs(5)).unwrap();
        let key = place.key_of("s3://artifacts/prod/s/1/x.tar.gz").unwrap();
        let signed = place.signed(&key, Duration::from_mins(15)).await.unwrap();
        let signed = signed.unwrap();
        assert_eq!(signed.path(), "/artifacts/prod/s/1/x.tar.gz");
        let query = signed.query().unwrap();
        assert!(query.contains("X-Amz-Expires=900"), "{query}");
        assert!(query.contains("X-Amz-Signature="), "{query}");
        assert!(place.read(&key).await.unwrap().is_none());
    }
}
