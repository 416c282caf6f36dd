//! A year of odd history, the same for the same seed: releases with hotfixes beside the line,
//! canaries, second sets and all-at-once deployments that succeed, fail, are canceled, run beside
//! each other or again; rollbacks that work and rollbacks that do not; executions nobody can read.

use serde_json::{Value, json};

use super::gate_history::GateHistory;
use super::github::GitHubServer;

/// The day the year begins, in milliseconds.
pub const BEGIN: i64 = 1_763_856_000_000;
const MINUTE: i64 = 60_000;

/// A small generator; the same numbers on every machine.
struct Dice(u64);

impl Dice {
    /// One of `0..sides`.
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// One release: version and commit.
pub type Build = (String, String, i64);

/// Fills both stand-ins with `weeks` weeks and gives the releases that were published, oldest first.
pub fn fill(seed: u64, weeks: i64, gate: &GateHistory, github: &GitHubServer) -> Vec<Build> {
    let mut dice = Dice(seed | 1);
    let mut builds: Vec<Build> = Vec::new();
    let mut head = github.world().commit("begin", None);
    let mut year = Year { gate, serial: 0 };
    let pipelines = [
        "deploy-prod",
        "deploy-stage",
        "deploy-edge",
        "rollback-batch",
        "rollback-full",
        "cleanup",
    ];
    let pipelines = pipelines.map(str::to_owned).to_vec();
    gate.memory().pipelines.insert("shop".into(), pipelines);
    for week in 0..weeks {
        let monday = BEGIN + week * 7 * 24 * 60 * MINUTE;
        let commits = 1 + dice.roll(12);
        let base = head.clone();
        for n in 0..commits {
            head = github
                .world()
                .commit(&format!("week {week} change {n}"), Some(&head));
        }
        let version = format!("1.{week}.0");
        github.world().release(&format!("v{version}"), &head);
        builds.push((version, head.clone(), monday));
        if dice.roll(6) == 0 {
            // A hotfix on last week's commit, which the next release does not have.
            let fix = github
                .world()
                .commit(&format!("hotfix of week {week}"), Some(&base));
            let version = format!("1.{week}.1");
            github.world().release(&format!("v{version}"), &fix);
            builds.push((version, fix, monday + 2 * 60 * MINUTE));
        }
        let older = builds.len().saturating_sub(2);
        let (new, old) = (builds[builds.len() - 1].0.clone(), builds[older].0.clone());
        for day in 0..5 {
            let at =
                monday + (day * 24 * 60 + 9 * 60) * MINUTE + dice.roll(60).cast_signed() * MINUTE;
            year.day(&mut dice, at, &new, &old);
        }
    }
    builds
}

struct Year<'a> {
    gate: &'a GateHistory,
    serial: u32,
}

impl Year<'_> {
    fn day(&mut self, dice: &mut Dice, at: i64, new: &str, old: &str) {
        let ways = [
            "SUCCEEDED",
            "SUCCEEDED",
            "SUCCEEDED",
            "CANCELED",
            "TERMINAL",
            "FAILED_CONTINUE",
        ];
        let way = ways[usize::try_from(dice.roll(6)).unwrap()];
        self.deploy("deploy-stage", new, at, "SUCCEEDED", 1);
        self.deploy("deploy-prod", new, at + 30 * MINUTE, way, 3);
        self.deploy("deploy-edge", new, at + 35 * MINUTE, way, 1);
        match dice.roll(5) {
            0 => self.rollback(
                "rollback-batch",
                old,
                at + 60 * MINUTE,
                "SUCCEEDED",
                Some("h1"),
            ),
            1 => self.rollback("rollback-full", old, at + 61 * MINUTE, "SUCCEEDED", None),
            2 => self.rollback("rollback-full", old, at + 62 * MINUTE, "TERMINAL", None),
            // Run again, as a person does, and another one beside it.
            3 => {
                self.deploy("deploy-prod", new, at + 90 * MINUTE, "SUCCEEDED", 3);
                self.deploy("deploy-prod", old, at + 91 * MINUTE, "CANCELED", 2);
            }
            _ => self.add(
                "deploy-prod",
                at + 95 * MINUTE,
                "SUCCEEDED",
                &json!({"oops": "1"}),
                &[],
            ),
        }
        self.add("cleanup", at + 120 * MINUTE, "SUCCEEDED", &json!({}), &[]);
    }

    fn deploy(&mut self, pipeline: &str, version: &str, at: i64, status: &str, batches: i64) {
        let mut stages = Vec::new();
        for n in 1..=batches {
            let is_last = n == batches;
            let (state, ran) = match status {
                "CANCELED" if is_last => ("CANCELED", true),
                "TERMINAL" if n == 1 => ("TERMINAL", true),
                "TERMINAL" => ("NOT_STARTED", false),
                _ => ("SUCCEEDED", true),
            };
            let mut stage = json!({
                "id": format!("{}-{n}", self.serial), "refId": n.to_string(), "type": "webhook",
                "name": format!("Deploy {n}"), "status": state, "outputs": {"padding": "x".repeat(400)},
                "context": {"batch": n.to_string(), "hosts": format!("h{n},h{}", n + 3)},
            });
            if ran {
                stage["startTime"] = json!(at + n * MINUTE);
                stage["endTime"] = json!(at + (n + 1) * MINUTE);
            }
            stages.push(stage);
        }
        // A second set has hosts of its own.
        if pipeline == "deploy-edge" {
            stages[0]["context"]["hosts"] =
                json!(format!("edge-{}-a,edge-{}-b", self.serial, self.serial));
        }
        let parameters = json!({"release_id": format!("checkout@{version}")});
        self.add(pipeline, at, status, &parameters, &stages);
    }

    fn rollback(
        &mut self,
        pipeline: &str,
        version: &str,
        at: i64,
        status: &str,
        hosts: Option<&str>,
    ) {
        let mut parameters = json!({
            "release": format!("checkout@{version}"), "env": "prod", "incident": "checkout@prod-1",
        });
        if let Some(hosts) = hosts {
            parameters["hosts"] = json!(hosts);
        }
        self.add(pipeline, at, status, &parameters, &[]);
    }

    fn add(&mut self, pipeline: &str, at: i64, status: &str, parameters: &Value, stages: &[Value]) {
        self.serial += 1;
        let execution = json!({
            "id": format!("01Y{:06}", self.serial), "application": "shop", "name": pipeline,
            "pipelineConfigId": format!("shop-{pipeline}"), "status": status,
            "canceled": status == "CANCELED", "buildTime": at, "startTime": at + 1_000,
            "endTime": at + 20 * MINUTE, "stages": stages,
            "trigger": {"type": "manual", "user": "ci", "parameters": parameters},
        });
        self.gate.memory().executions.push(execution);
    }
}
