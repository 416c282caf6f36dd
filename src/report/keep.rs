//! Keeps a report in the store: charts and pages first, the record last.
//!
//! A revision exists when its record does. The record is created once; a revision that is there
//! is not written again, so a second writer changes nothing.

use bytes::Bytes;

use super::parts::Png;
use super::record::Record;
use super::{html, markdown};
use crate::domain::id::IncidentId;
use crate::store::{Created, Store, StoreError, keys};

const RECORD: &str = "record.json";

/// A page of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Page {
    /// `report.html`
    Html,
    /// `report.md`
    Markdown,
}

impl Page {
    fn file(self) -> &'static str {
        match self {
            Self::Html => "report.html",
            Self::Markdown => "report.md",
        }
    }
}

/// Writes one revision: its charts, both pages, and then its record.
///
/// # Errors
/// When the store can't be reached; whatever was written is written again the next time.
pub async fn write(store: &Store, record: &Record) -> Result<Created, StoreError> {
    let header = &record.header;
    let key = |file: &str| keys::report(&header.incident, header.revision, file);
    if store.get_bytes(&key(RECORD)).await?.is_some() {
        return Ok(Created::Taken);
    }
    for metric in record.metrics.value().into_iter().flatten() {
        if let (Some(file), Some(png)) = (&metric.chart, &metric.chart_png) {
            store.put_bytes(&key(file), png.0.clone()).await?;
        }
    }
    let html = Bytes::from(html(record));
    store.put_bytes(&key(Page::Html.file()), html).await?;
    let markdown = Bytes::from(markdown(record));
    store
        .put_bytes(&key(Page::Markdown.file()), markdown)
        .await?;
    store.create(&key(RECORD), record).await
}

/// The newest revision whose record is there.
///
/// # Errors
/// When the store can't be reached.
pub async fn latest(store: &Store, incident: &IncidentId) -> Result<Option<u32>, StoreError> {
    let keys = store.list(&keys::reports(incident)).await?;
    let revision = |key: &String| {
        let (folder, file) = key.rsplit_once('/')?;
        let (_, revision) = folder.rsplit_once('/')?;
        (file == RECORD).then(|| revision.parse().ok()).flatten()
    };
    Ok(keys.iter().filter_map(revision).max())
}

/// A revision's record with its charts, as it was written; None when there is none.
///
/// # Errors
/// When the store can't be reached or the record is damaged.
pub async fn load(
    store: &Store,
    incident: &IncidentId,
    revision: u32,
) -> Result<Option<Record>, StoreError> {
    let key = keys::report(incident, revision, RECORD);
    let Some(mut record) = store.get::<Record>(&key).await? else {
        return Ok(None);
    };
    for metric in record.metrics.value_mut().into_iter().flatten() {
        if let Some(file) = &metric.chart {
            let key = keys::report(incident, revision, file);
            metric.chart_png = store.get_bytes(&key).await?.map(Png);
        }
    }
    Ok(Some(record))
}

/// A revision's page, as it was written; None when there is none.
///
/// # Errors
/// When the store can't be reached.
pub async fn page(
    store: &Store,
    incident: &IncidentId,
    revision: u32,
    page: Page,
) -> Result<Option<Bytes>, StoreError> {
    let key = keys::report(incident, revision, page.file());
    store.get_bytes(&key).await
}
