//! Marks of releases: what was taken back is bad, so that nothing goes back to it.

use crate::domain::clock::Clock;
use crate::domain::lane::Incident;
use crate::domain::release::{Mark, MarkKind};
use crate::store::{Created, Store, StoreError, chain, keys};

/// Marks an incident's release bad, once per incident.
///
/// # Errors
/// When the store can't be reached or the outcome is unknown; asking again is harmless.
pub async fn mark_bad(
    store: &Store,
    clock: &dyn Clock,
    incident: &Incident,
) -> Result<(), StoreError> {
    let prefix = keys::marks(&incident.opened.release_id);
    let mark = Mark {
        release_id: incident.opened.release_id.clone(),
        kind: MarkKind::Bad,
        reason: format!("taken back by incident {}", incident.id),
        by: "backstop".into(),
        at: clock.now(),
        incident: Some(incident.id.clone()),
    };
    loop {
        let marks = chain::read_from::<Mark>(store, &prefix, 1).await?;
        let known = |(_, earlier): &(u64, Mark)| earlier.incident == mark.incident;
        if marks.iter().any(known) {
            return Ok(());
        }
        let seq = marks.last().map_or(1, |(seq, _)| seq + 1);
        if chain::append(store, &prefix, seq, &mark).await? == Created::Mine {
            return Ok(());
        }
    }
}
