use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use jiff::Timestamp;

use super::history::History;
use super::*;
use crate::config::{Metrics, Vmalert};
use crate::http::Retry;

type Asked = Arc<Mutex<Vec<HashMap<String, String>>>>;

async fn serve(router: Router) -> url::Url {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    format!("http://{address}/select/0/prometheus")
        .parse()
        .unwrap()
}

fn metrics(url: url::Url) -> Metrics {
    Metrics {
        url,
        basic: None,
        bearer: Some(Secret::new("t0ken")),
        timeout: Duration::from_secs(2),
        latency_offset: true,
    }
}

fn http() -> reqwest::Client {
    crate::http::client(&crate::http::Settings::default()).unwrap()
}

/// A store that gives one answer to everything and keeps what it was asked.
async fn store(status: StatusCode, body: &'static str) -> (Client, History, Asked) {
    type Shared = (StatusCode, &'static str, Asked);
    async fn answer(
        State((status, body, asked)): State<Shared>,
        headers: axum::http::HeaderMap,
        body_text: String,
    ) -> impl IntoResponse {
        let pairs = url::form_urlencoded::parse(body_text.as_bytes());
        let mut form: HashMap<String, String> = pairs.into_owned().collect();
        let login = headers.get("authorization").map(|v| v.to_str().unwrap());
        form.insert("authorization".into(), login.unwrap_or_default().to_owned());
        asked.lock().unwrap().push(form);
        (
            status,
            [("content-type", "application/json"), ("retry-after", "10")],
            body,
        )
    }
    let asked = Asked::default();
    let router = Router::new()
        .route("/select/0/prometheus/api/v1/query", post(answer))
        .route("/select/0/prometheus/api/v1/query_range", post(answer))
        .with_state((status, body, Arc::clone(&asked)));
    let metrics = metrics(serve(router).await);
    let history = History::new(http(), &metrics).unwrap();
    (Client::new(http(), &metrics), history, asked)
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

#[tokio::test]
async fn an_instant_query_asks_past_caches_and_reads_every_kind_of_number() {
    let (client, _, asked) = store(
        StatusCode::OK,
        r#"{"status":"success","data":{"resultType":"vector","result":[
            {"metric":{"a":"b"},"value":[1795380409.25,"0.2"]},
            {"metric":{},"value":[1795380409,"+Inf"]},{"metric":{},"value":[1795380409,"-Inf"]},
            {"value":[1795380409,"NaN"]}]},"stats":{"seriesFetched":"4"}}"#,
    )
    .await;
    let options = Options {
        params: vec![("extra_label".into(), "t=1".into())],
        ..Options::default()
    };
    let found = client
        .instant("up > 0", Some(at(5)), &options)
        .await
        .unwrap();
    assert_eq!(found[0].labels["a"], "b");
    assert_eq!(found[0].at.as_millisecond(), 1_795_380_409_250);
    let values: Vec<f64> = found.iter().map(|sample| sample.value).collect();
    assert_eq!(values[..3], [0.2, f64::INFINITY, f64::NEG_INFINITY]);
    assert!(values[3].is_nan());
    let asked = asked.lock().unwrap();
    for (name, value) in [
        ("query", "up > 0"),
        ("time", "5.000"),
        ("nocache", "1"),
        ("latency_offset", "1ms"),
        ("timeout", "2s"),
        ("extra_label", "t=1"),
        ("authorization", "Bearer t0ken"),
    ] {
        assert_eq!(asked[0][name], value);
    }
}

#[tokio::test]
async fn recorded_ranges_of_both_versions_are_read_by_both_readers() {
    for body in [
        include_str!("../../tests/fixtures/victoriametrics/victoriametrics-1.79_query_range.json"),
        include_str!("../../tests/fixtures/victoriametrics/victoriametrics-1.150_query_range.json"),
    ] {
        let (client, history, asked) = store(StatusCode::OK, body).await;
        let step = Duration::from_mins(1);
        let (start, end) = (at(1_795_380_000), at(1_795_380_600));
        let series = client
            .range("x", start, end, step, &Options::default())
            .await
            .unwrap();
        assert_eq!(series.len(), 3);
        assert_eq!(series[0].labels["instance"], "10.0.0.1:8080");
        assert!((series[0].points[0].1 - 0.2).abs() < 1e-9);
        assert_eq!(history.points("x", start, end, step).await.unwrap(), series);
        let asked = asked.lock().unwrap();
        assert_eq!(asked[0]["step"], "60s");
        assert_eq!(asked[1]["authorization"], "Bearer t0ken");
    }
}

#[tokio::test]
async fn an_error_keeps_the_stores_own_words() {
    for (status, body, kind) in [
        (
            StatusCode::UNPROCESSABLE_ENTITY,
            include_str!(
                "../../tests/fixtures/victoriametrics/victoriametrics-1.79_query_range_error.json"
            ),
            "422",
        ),
        (
            StatusCode::BAD_REQUEST,
            include_str!(
                "../../tests/fixtures/victoriametrics/victoriametrics-1.150_query_range_error.json"
            ),
            "400",
        ),
    ] {
        let (client, history, _) = store(status, body).await;
        let error = client
            .instant("rate(", None, &Options::default())
            .await
            .unwrap_err();
        let PromError::Refused {
            kind: told,
            message,
            ..
        } = &error
        else {
            panic!("{error:?}");
        };
        assert_eq!(told, kind);
        assert!(message.contains("unexpected token"), "{message}");
        let hidden = history
            .points("rate(", at(0), at(60), Duration::from_secs(15))
            .await;
        assert!(hidden.is_err());
    }
}

#[tokio::test]
async fn a_partial_answer_an_overloaded_source_and_a_page_are_told_apart() {
    let empty =
        r#"{"status":"success","isPartial":true,"data":{"resultType":"vector","result":[]}}"#;
    let (client, ..) = store(StatusCode::OK, empty).await;
    let error = client
        .instant("x", None, &Options::default())
        .await
        .unwrap_err();
    assert!(matches!(error, PromError::Incomplete), "{error:?}");

    for status in [
        StatusCode::TOO_MANY_REQUESTS,
        StatusCode::SERVICE_UNAVAILABLE,
    ] {
        let (client, ..) = store(status, "too many concurrent requests").await;
        let error = client
            .instant("x", None, &Options::default())
            .await
            .unwrap_err();
        let PromError::Call(error) = error else {
            panic!("{error:?}")
        };
        assert_eq!(error.retry, Retry::After(Duration::from_secs(10)));
    }

    let (client, ..) = store(StatusCode::OK, "<html>login</html>").await;
    let error = client
        .instant("x", None, &Options::default())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), "decode");
}

#[tokio::test]
async fn more_than_we_want_is_refused() {
    let two = r#"{"status":"success","data":{"resultType":"vector","result":[
        {"metric":{"a":"1"},"value":[1,"1"]},{"metric":{"a":"2"},"value":[1,"1"]}]}}"#;
    let (client, ..) = store(StatusCode::OK, two).await;
    let options = Options {
        max_series: 1,
        ..Options::default()
    };
    let error = client.instant("x", None, &options).await.unwrap_err();
    assert!(matches!(
        error,
        PromError::TooMuch {
            what: "series",
            limit: 1
        }
    ));
    let error = client
        .range(
            "x",
            at(0),
            at(5_000),
            Duration::from_secs(1),
            &Options::default(),
        )
        .await
        .unwrap_err();
    assert!(matches!(error, PromError::TooMuch { what: "points", .. }));
}

#[tokio::test]
async fn a_store_that_is_not_there_is_a_failed_call() {
    let client = Client::new(http(), &metrics("http://127.0.0.1:1/".parse().unwrap()));
    let error = client
        .instant("x", None, &Options::default())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), "network");
    assert!(!error.to_string().contains("127.0.0.1"), "{error}");
}

async fn rules_of(body: &'static str) -> Result<Vec<RuleGroup>, PromError> {
    let router = Router::new().route(
        "/select/0/prometheus/api/v1/rules",
        get(move || async move { ([("content-type", "application/json")], body) }),
    );
    let vmalert = Vmalert {
        url: serve(router).await,
        basic: None,
        canary: false,
    };
    RuleSource::new(http(), &vmalert).rules().await
}

#[tokio::test]
async fn recorded_rule_lists_of_both_versions_are_read() {
    let old = rules_of(include_str!(
        "../../tests/fixtures/vmalert/vmalert-1.79_api_v1_rules.json"
    ));
    let old = old.await.unwrap();
    assert_eq!(old[0].name, "local");
    let rule = &old[0].rules[0];
    assert_eq!(rule.query, r#"http_error_ratio{service="checkout"} > 0.05"#);
    assert_eq!(
        (rule.for_, rule.healthy),
        (Duration::from_secs(5), Some(true))
    );

    let new = rules_of(include_str!(
        "../../tests/fixtures/vmalert/vmalert-1.150_api_v1_rules.json"
    ));
    let new = new.await.unwrap();
    let rule = &new[0].rules[0];
    assert_eq!(
        (new[0].name.as_str(), rule.name.as_str()),
        ("checkout", "HighErrorRate")
    );
    assert_eq!(rule.labels["region"], "eu1");
}

#[tokio::test]
async fn what_a_group_adds_to_its_queries_is_kept() {
    let groups = rules_of(
        r#"{"status":"success","data":{"groups":[
            {"name":"g","params":["extra_label=a=b"],"headers":["AccountID: <secret>"],"labels":{"l":"1","m":"1"},
             "rules":[{"name":"A","query":"x","type":"alerting","labels":{"m":"2"}},
                      {"name":"R","query":"x","type":"recording"},
                      {"name":"L","query":"x","type":"alerting","datasourceType":"vlogs"}]},
            {"name":"empty","rules":null}]}}"#,
    )
    .await
    .unwrap();
    assert_eq!(
        groups[0].params,
        [("extra_label".to_owned(), "a=b".to_owned())]
    );
    assert!(groups[0].has_headers && !groups[1].has_headers);
    assert_eq!(groups[0].rules.len(), 1);
    assert_eq!(groups[0].rules[0].labels["m"], "2");
    assert_eq!(groups[0].rules[0].labels["l"], "1");
    assert_eq!(
        rules_of(r#"{"status":"success","data":{"groups":null}}"#)
            .await
            .unwrap(),
        []
    );
}
