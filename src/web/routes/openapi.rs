//! `GET /api/v1/openapi.json`: the API as programs read it, made from the types that are served.
//!
//! One table names every route; a test compares it with the routers, and the written copy in
//! `docs/reference/openapi.json` with what is served.

use axum::Json as Answer;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::{agent, approve, deploy, discovery, explain, ops, read, rollback};
use crate::domain::agent::Polled;
use crate::domain::deployment::Instance;
use crate::domain::lane::{Approval, Incident};
use crate::domain::record::DecisionRecord;
use crate::explain::Explanation;
use crate::web::api::{
    Accepted, Admitted, AlertRecord, ApprovalAnswered, BatchFacts, BatchState, DeploymentState,
    InstanceFacts, InstancesRecorded, ModeSwitch, Page, Recorded, ReleaseRecord, RollbackOpened,
    RollbackPlan, TargetGroup,
};

/// A schema, put into the document's components on the way.
type Of = fn(&mut SchemaGenerator) -> Schema;

fn of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

/// One method of one path.
struct Operation {
    method: &'static str,
    path: &'static str,
    /// None: open to everybody who reaches the gateway.
    scope: Option<&'static str>,
    says: &'static str,
    /// Its query, as the fields of a type.
    query: Option<Of>,
    body: Option<Of>,
    /// Good answers; None: text.
    answers: &'static [(u16, Option<Of>)],
}

const fn operation(
    method: &'static str,
    path: &'static str,
    scope: Option<&'static str>,
    says: &'static str,
    answers: &'static [(u16, Option<Of>)],
) -> Operation {
    Operation {
        method,
        path,
        scope,
        says,
        query: None,
        body: None,
        answers,
    }
}

impl Operation {
    const fn takes(mut self, body: Of) -> Self {
        self.body = Some(body);
        self
    }

    const fn asked(mut self, query: Of) -> Self {
        self.query = Some(query);
        self
    }
}

const INGEST: Option<&str> = Some("ingest");
const DEPLOY: Option<&str> = Some("deploy");
const AGENT: Option<&str> = Some("agent");
const ROLLBACK: Option<&str> = Some("rollback");
const READ: Option<&str> = Some("read");
const ADMIN: Option<&str> = Some("admin");
/// What a sender of alerts posts is theirs to describe.
const ANY: Of = any;

fn any(_: &mut SchemaGenerator) -> Schema {
    schemars::json_schema!({})
}

#[rustfmt::skip]
static OPERATIONS: &[Operation] = &[
    operation("post", "/api/v1/webhook", INGEST, "Alertmanager's webhook, body version 4", &[(200, Some(of::<Accepted>))]).takes(ANY),
    operation("post", "/api/v2/alerts", INGEST, "Alerts as vmalert and Prometheus send them to an Alertmanager", &[(200, Some(of::<Accepted>))]).takes(ANY),
    operation("post", "/api/v1/deployments/{id}/batches/{n}", DEPLOY, "A batch is about to start; idempotent", &[(202, Some(of::<BatchState>))]).takes(of::<BatchFacts>),
    operation("get", "/api/v1/deployments/{id}/batches/{n}", DEPLOY, "How far a batch is", &[(200, Some(of::<BatchState>))]),
    operation("post", "/api/v1/deployments/{id}/batches/{n}/cancel", DEPLOY, "Spinnaker gave a batch up", &[(200, Some(of::<BatchState>))]),
    operation("post", "/api/v1/deployments/{id}/instances", DEPLOY, "How far hosts came that are deployed on without agents; idempotent", &[(200, Some(of::<InstancesRecorded>))]).takes(of::<InstanceFacts>),
    operation("post", "/api/v1/incidents/{id}/attempts/{k}/admit", DEPLOY, "An execution asks to be let in", &[(200, Some(of::<Admitted>))]).takes(of::<deploy::Asking>),
    operation("post", "/api/v1/incidents/{id}/attempts/{k}/hosts", DEPLOY, "The hosts of an admitted rollback are told to go back; idempotent", &[(202, Some(of::<BatchState>))]).takes(of::<deploy::Asking>),
    operation("get", "/api/v1/incidents/{id}/attempts/{k}/hosts", DEPLOY, "How far they are", &[(200, Some(of::<BatchState>))]),
    operation("get", "/api/v1/agent/desired", AGENT, "What the token's host is to run; 304 while `If-None-Match` names it", &[(200, Some(of::<Polled>))]).asked(of::<agent::Wanted>),
    operation("post", "/api/v1/agent/records", AGENT, "What became of the host's orders, in order; idempotent", &[(200, Some(of::<Recorded>))]).takes(of::<agent::Told>),
    operation("get", "/api/v1/agent/artifacts/{release}/{what}", AGENT, "The `artifact` or `config` of a release that the host was told to run, where it is in a directory", &[(200, None)]),
    operation("post", "/api/v1/rollbacks", ROLLBACK, "Plan a rollback (`dry_run`: 200 and the plan) or start one, under an Idempotency-Key", &[(200, Some(of::<RollbackPlan>)), (202, Some(of::<RollbackOpened>))]).takes(of::<rollback::Asked>),
    operation("post", "/api/v1/approvals/{id}", ROLLBACK, "Answer a question, or take a denial back", &[(200, Some(of::<ApprovalAnswered>))]).takes(of::<approve::Said>),
    operation("post", "/api/v1/incidents/{id}/abandon", ROLLBACK, "Give an open incident up", &[(200, Some(of::<Incident>))]).takes(of::<approve::GivenUp>),
    operation("get", "/api/v1/releases", READ, "Releases, newest first", &[(200, Some(of::<Page<ReleaseRecord>>))]).asked(of::<read::RawFilter>),
    operation("get", "/api/v1/deployments", READ, "Deployments with their progress, newest first", &[(200, Some(of::<Page<DeploymentState>>))]).asked(of::<read::RawFilter>),
    operation("get", "/api/v1/instances", READ, "What ran on which host, and when", &[(200, Some(of::<Page<Instance>>))]).asked(of::<read::RawFilter>),
    operation("get", "/api/v1/alerts", READ, "Open alerts with what they were joined to", &[(200, Some(of::<Page<AlertRecord>>))]).asked(of::<read::RawFilter>),
    operation("get", "/api/v1/incidents", READ, "Incidents, newest first", &[(200, Some(of::<Page<Incident>>))]).asked(of::<read::RawFilter>),
    operation("get", "/api/v1/decisions", READ, "Decisions, newest first, page by page", &[(200, Some(of::<Page<DecisionRecord>>))]).asked(of::<read::RawFilter>),
    operation("get", "/api/v1/approvals", READ, "Questions to people, newest first", &[(200, Some(of::<Page<Approval>>))]).asked(of::<read::RawFilter>),
    operation("get", "/api/v1/approvals/{id}", READ, "One question and what became of it", &[(200, Some(of::<Approval>))]),
    operation("get", "/api/v1/incidents/{id}", READ, "One incident with its events", &[(200, Some(of::<Incident>))]),
    operation("get", "/api/v1/explain", READ, "Why something was decided, or why nothing happened", &[(200, Some(of::<Explanation>))]).asked(of::<explain::Raw>),
    operation("post", "/api/v1/explain", READ, "What a body of alerts would come to now; changes nothing", &[(200, Some(of::<Explanation>))]).takes(ANY),
    operation("get", "/api/v1/mode", READ, "Switches that people set", &[(200, Some(of::<Vec<ModeSwitch>>))]),
    operation("put", "/api/v1/mode", ADMIN, "Set a switch, or take it away", &[(200, Some(of::<Vec<ModeSwitch>>))]).takes(of::<ops::Change>),
    operation("get", "/api/v1/canary/rules.yaml", READ, "The rule file for canary vmalerts, as YAML", &[(200, None)]),
    operation("get", "/api/v1/http_sd", READ, "Hosts as scrape targets, with release and batch", &[(200, Some(of::<Vec<TargetGroup>>))]).asked(of::<discovery::Wanted>),
    operation("get", "/metrics/deployments", READ, "What runs where, as info series", &[(200, None)]),
    operation("get", "/api/v1/openapi.json", READ, "This document", &[(200, Some(ANY))]),
    operation("get", "/incidents/{id}/report.json", READ, "The newest report of an incident as its record; `report.md` and `report.html` beside it", &[(200, Some(ANY))]),
    operation("post", "/-/reload", ADMIN, "Read the configuration again", &[(200, None)]),
    operation("get", "/-/healthy", None, "It is alive", &[(200, None)]),
    operation("get", "/-/ready", None, "It takes alerts in", &[(200, None)]),
    operation("get", "/metrics", None, "Metrics, as OpenMetrics", &[(200, None)]),
];

/// Body of every refusal (RFC 9457).
#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its shape is used")]
struct Problem {
    /// Always `about:blank`.
    #[schemars(rename = "type")]
    kind: String,
    /// The status in words.
    title: String,
    /// The status.
    status: u16,
    /// For programs.
    code: String,
    /// For people.
    detail: String,
    /// The request's id, which the log has too.
    request_id: String,
    /// Where in the body, where a part of it is wrong.
    pointer: Option<String>,
}

/// The document.
pub fn openapi() -> Value {
    let mut generator = SchemaSettings::openapi3().into_generator();
    let mut paths: Map<String, Value> = Map::new();
    for one in OPERATIONS {
        let told = told(one, &mut generator);
        let path = paths.entry(one.path).or_insert_with(|| json!({}));
        if let Value::Object(methods) = path {
            methods.insert(one.method.to_owned(), told);
        }
    }
    let schemas = generator.take_definitions(true);
    json!({
        "openapi": "3.0.3",
        "info": {
            "title": "Backstop",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The last stop behind a release. Fields may be added; ignore those you do not know.",
            "license": {"name": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "password": {"type": "http", "scheme": "basic", "description": "The token as the password, with any name"},
            },
        },
    })
}

fn told(one: &Operation, generator: &mut SchemaGenerator) -> Value {
    let mut answers = Map::new();
    for (status, schema) in one.answers {
        let content = match schema {
            Some(schema) => json!({"application/json": {"schema": schema(generator)}}),
            None => json!({"text/plain": {"schema": {"type": "string"}}}),
        };
        let answer = json!({"description": one.says, "content": content});
        answers.insert(status.to_string(), answer);
    }
    let problem = of::<Problem>(generator);
    let content = json!({"application/problem+json": {"schema": problem}});
    let refused = json!({"description": "Refused, or not now", "content": content});
    answers.insert("default".to_owned(), refused);
    let mut told = json!({
        "summary": one.says,
        "parameters": parameters(one, generator),
        "responses": answers,
        "security": [],
    });
    if let Value::Object(told) = &mut told {
        if let Some(scope) = one.scope {
            told.insert("x-scope".to_owned(), scope.into());
            told.insert(
                "security".to_owned(),
                json!([{"token": []}, {"password": []}]),
            );
        }
        if let Some(body) = one.body {
            let content = json!({"application/json": {"schema": body(generator)}});
            told.insert(
                "requestBody".to_owned(),
                json!({"required": true, "content": content}),
            );
        }
    }
    told
}

/// The parts of the path, and the fields of the query.
fn parameters(one: &Operation, generator: &mut SchemaGenerator) -> Vec<Value> {
    let parts = one.path.split('/');
    let names = parts.filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let mut found: Vec<Value> = names
        .map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}))
        .collect();
    if one.path == "/api/v1/rollbacks" {
        let says = "Needed unless `dry_run`: the same key never rolls back twice";
        found.push(json!({"name": "Idempotency-Key", "in": "header", "description": says, "schema": {"type": "string"}}));
    }
    if let Some(query) = one.query {
        // Fields, not a component: a query is no object.
        let mut own = generator.settings().clone().into_generator();
        query(&mut own);
        let types = own.take_definitions(true);
        let types = types
            .values()
            .filter_map(|one| one["properties"].as_object());
        for (name, schema) in types.flatten() {
            let mut schema = schema.clone();
            let says = schema
                .as_object_mut()
                .and_then(|schema| schema.remove("description"));
            found.push(json!({"name": name, "in": "query", "description": says, "schema": schema}));
        }
    }
    found
}

pub(super) async fn document() -> Answer<Value> {
    Answer(openapi())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Pages and what they load: for browsers, not for programs.
    const PAGES: [&str; 7] = [
        "/",
        "/explain",
        "/incidents/{id}",
        "/incidents/{id}/{report}",
        "/charts/{signed}",
        "/approve/{signed}",
        "/style.css",
    ];

    /// Method and path of every `.route(` in this folder.
    fn routed() -> BTreeSet<(String, String)> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/web/routes");
        let route = regex::Regex::new(r#"\.route\(\s*(?:&format!\()?"([^"]+)"\)?,\s*([^\n]+)"#);
        let method = regex::Regex::new(r"\b(get|post|put|list!|on_post)\(").unwrap();
        let route = route.unwrap();
        let mut found = BTreeSet::new();
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.ends_with("openapi.rs") {
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            // The one path that is written once and used twice.
            let text = text
                .replace("(batch,", "(\"/api/v1/deployments/{id}/batches/{n}\",")
                .replace(
                    "\"{batch}/cancel\"",
                    "\"/api/v1/deployments/{id}/batches/{n}/cancel\"",
                );
            assert_eq!(
                text.matches(".route(").count(),
                route.find_iter(&text).count(),
                "{}",
                path.display()
            );
            for told in route.captures_iter(&text) {
                for method in method.captures_iter(&told[2]) {
                    let method = match &method[1] {
                        "list!" => "get",
                        "on_post" => "post",
                        other => other,
                    };
                    found.insert((method.to_owned(), told[1].to_owned()));
                }
            }
        }
        found
    }

    #[test]
    fn every_route_is_in_the_document_and_nothing_else() {
        let told = OPERATIONS
            .iter()
            .map(|one| (one.method.to_owned(), one.path.to_owned()));
        let mut told: BTreeSet<_> = told.collect();
        assert_eq!(told.len(), OPERATIONS.len(), "one is there twice");
        // A page of several forms, of which one is for programs.
        assert!(told.remove(&("get".into(), "/incidents/{id}/report.json".into())));
        let mut routed = routed();
        assert!(routed.len() > 30, "{routed:?}");
        routed.retain(|(_, path)| !PAGES.contains(&path.as_str()));
        assert_eq!(told, routed);
    }

    #[test]
    fn the_document_holds_together() {
        let document = openapi();
        let text = document.to_string();
        let mut places: Vec<&str> = text.split("\"$ref\":\"#").skip(1).collect();
        for place in &mut places {
            *place = place.split('"').next().unwrap();
        }
        assert!(places.len() > 50, "{}", places.len());
        for place in places {
            assert!(document.pointer(place).is_some(), "nothing at {place}");
        }
        let asked = &document["paths"]["/api/v1/decisions"]["get"]["parameters"];
        let names = asked
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["name"].as_str().unwrap());
        assert!(names.collect::<Vec<_>>().contains(&"verdict"), "{asked:#}");
    }
}
