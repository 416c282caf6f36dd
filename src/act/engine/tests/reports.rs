use super::*;

/// When the first incident is over, which it is whatever its reports do.
async fn closed(site: &Site, id: &IncidentId) -> Incident {
    let closed = async {
        loop {
            let incident = site.incident(id).await;
            if incident.is_closed() {
                return incident;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let closed = tokio::time::timeout(Duration::from_hours(1), closed).await;
    closed.unwrap()
}

fn lasted(incident: &Incident) -> Duration {
    crate::domain::clock::since(incident.closed_at.unwrap(), incident.opened_at)
}

#[tokio::test(start_paused = true)]
async fn a_report_that_hangs_delays_nothing_and_is_written_when_it_can_be() {
    let undisturbed = lasted(&ended(&Site::new(memory())).await);
    let site = Site::new(memory());
    site.room.reports(Some(Duration::from_hours(1)));
    let id = opened(&site).await;
    let incident = closed(&site, &id).await;
    assert_eq!((incident.revision, lasted(&incident)), (0, undisturbed));
    site.room.reports(None);
    assert_eq!(site.until_closed().await.revision, 3);
    assert_eq!(
        site.room.told_reports(),
        ["report-1", "report-2", "report-3"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_report_that_is_slow_is_told_once_for_each_revision() {
    let site = Site::new(memory());
    site.room.reports(Some(Duration::from_secs(4)));
    opened(&site).await;
    assert_eq!(site.until_closed().await.revision, 3);
    assert_eq!(
        site.room.told_reports(),
        ["report-1", "report-2", "report-3"]
    );
}

#[tokio::test(start_paused = true)]
async fn what_a_replica_that_died_owed_of_an_incident_that_is_over_another_writes() {
    let memory = memory();
    let site = Site::new(memory.clone());
    site.room.reports(Some(Duration::from_hours(1)));
    let id = opened(&site).await;
    closed(&site, &id).await;
    let next = site.takes_over(memory);
    next.room.reports(None);
    assert_eq!(next.until_closed().await.revision, 3);
    assert_eq!(
        next.room.told_reports(),
        ["report-1", "report-2", "report-3"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_report_that_can_never_be_written_is_given_up_and_the_incident_forgotten() {
    let site = Site::new(memory());
    site.room.reports(Some(Duration::from_hours(9)));
    opened(&site).await;
    let incident = site.until_closed().await;
    assert_eq!(
        (incident.ending, incident.revision),
        (Some(Ending::Recovered), 0)
    );
}
