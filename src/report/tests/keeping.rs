//! Reports in the store, and the shape of the record.

use super::super::*;
use super::scene::{ID, first_revision, recovered};
use crate::domain::id::IncidentId;
use crate::store::{Created, Store, keys};

fn incident() -> IncidentId {
    IncidentId::new(ID).unwrap()
}

#[test]
fn the_record_survives_json() {
    for input in [recovered(), first_revision()] {
        let mut record = record(input);
        let json = serde_json::to_string(&record).unwrap();
        for metric in record.metrics.value_mut().unwrap() {
            metric.chart_png = None;
        }
        assert_eq!(serde_json::from_str::<Record>(&json).unwrap(), record);
    }
}

#[test]
fn the_schema_names_every_part_of_the_record() {
    let schema = serde_json::to_value(schemars::schema_for!(Record)).unwrap();
    let json = serde_json::to_value(record(recovered())).unwrap();
    for part in json.as_object().unwrap().keys() {
        assert!(schema["properties"].get(part).is_some(), "{part}");
    }
    assert!(!schema.to_string().contains("chart_png"));
}

#[tokio::test]
async fn the_newest_kept_revision_is_found_and_loads_as_written() {
    let store = Store::in_memory();
    assert_eq!(keep::latest(&store, &incident()).await.unwrap(), None);
    for input in [first_revision(), recovered()] {
        let record = record(input);
        assert_eq!(keep::write(&store, &record).await.unwrap(), Created::Mine);
    }
    assert_eq!(keep::latest(&store, &incident()).await.unwrap(), Some(3));
    let written = record(recovered());
    let loaded = keep::load(&store, &incident(), 3).await.unwrap().unwrap();
    assert_eq!(loaded, written);
    assert!(loaded.metrics.value().unwrap()[0].chart_png.is_some());
    let page = keep::page(&store, &incident(), 3, keep::Page::Html)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(page, html(&written).as_bytes());
    let page = keep::page(&store, &incident(), 1, keep::Page::Markdown)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(page, markdown(&record(first_revision())).as_bytes());
    assert_eq!(keep::load(&store, &incident(), 2).await.unwrap(), None);
}

#[tokio::test]
async fn a_second_writer_of_a_revision_changes_nothing() {
    let store = Store::in_memory();
    let first = record(recovered());
    keep::write(&store, &first).await.unwrap();
    let mut other = recovered();
    other.alerts.clear();
    assert_eq!(
        keep::write(&store, &record(other)).await.unwrap(),
        Created::Taken
    );
    let page = keep::page(&store, &incident(), 3, keep::Page::Html)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(page, html(&first).as_bytes());
    assert_eq!(
        keep::load(&store, &incident(), 3).await.unwrap().unwrap(),
        first
    );
}

#[tokio::test]
async fn pages_without_a_record_are_no_revision() {
    let store = Store::in_memory();
    let key = keys::report(&incident(), 4, "report.html");
    store
        .put_bytes(&key, bytes::Bytes::from_static(b"<p>"))
        .await
        .unwrap();
    assert_eq!(keep::latest(&store, &incident()).await.unwrap(), None);
}
